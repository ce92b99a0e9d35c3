"""Dataclasses that hold arrays compare and hash by identity: a generated == fails, as == of arrays is an array."""

import ast
import re

import pytest

from clipfeed import open_dataset
from tests.helpers.runs import ROOT
from tests.test_architecture import PACKAGES

ARRAYS = re.compile(r"\b(NDArray|ndarray|Tensor)\b")


def compared(source: str) -> list[str]:
    """Return the dataclasses in a file that compare their fields, one of which is an array."""
    tree, named = ast.parse(source), ARRAYS
    for node in tree.body:
        if isinstance(node, ast.Assign) and ARRAYS.search(ast.unparse(node.value)):
            named = re.compile(rf"{named.pattern}|\b{ast.unparse(node.targets[0])}\b")
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(re.match(r"dataclass\b(?!.*eq=False)", ast.unparse(each)) for each in node.decorator_list)
        and any(isinstance(line, ast.AnnAssign) and holds(named, line.annotation) for line in node.body)
    ]


def holds(named: re.Pattern[str], annotation: ast.expr) -> bool:
    text = ast.unparse(annotation)
    return bool(named.search(text)) and "Callable" not in text


@pytest.mark.parametrize("package", PACKAGES)
def test_no_dataclass_compares_arrays(package):
    files = [*(ROOT / package).rglob("*.py"), *ROOT.glob(f"{package}.py")]
    assert files
    assert {str(file): found for file in files if (found := compared(file.read_text()))} == {}


def test_a_dataclass_that_compares_arrays_is_found():
    source = "Column = NDArray[Any]\n@dataclass(frozen=True)\nclass Table:\n    rows: Column | None = None\n"
    assert compared(source) == ["Table"]
    assert compared(source.replace("=True", "=True, eq=False")) == []


def test_opened_datasets_can_be_compared_and_kept_in_sets(vp9_store):
    one, other = (open_dataset(vp9_store.root) for _ in range(2))
    assert len({one, other}) == len({one.index, other.index}) == 2
    assert one != other
    assert one in [one]
