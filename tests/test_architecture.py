"""Which packages may import which, and where imports are allowed in a file."""

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers.runs import ROOT

PACKAGES = ("bench", "clipfeed", "configs", "dali_pipelines", "nets", "trainers")
ENTRY_SCRIPTS = ("trainers.pretrain", "trainers.finetune", "trainers.test")

FORBIDDEN = {
    "configs": ("bench", "clipfeed", "dali_pipelines", "nets", "trainers"),
    "dali_pipelines": ("bench", "clipfeed", "nets", "trainers"),
    "nets": ("bench", "clipfeed", "dali_pipelines", "trainers", "nvidia"),
    "trainers": ("bench", "clipfeed"),
    "trainers.diagnosis": ("trainers.commands", "trainers.evaluation", "trainers.weights"),
    "trainers.engine": ("trainers.commands", "trainers.diagnosis", "trainers.evaluation", "trainers.weights"),
    "trainers.evaluation": ("trainers.commands", "trainers.diagnosis"),
    "trainers.weights": ("trainers.commands", "trainers.diagnosis", "trainers.evaluation"),
}
"""Package -> packages that it must not import."""

ALLOWED_IN_FUNCTIONS = {
    "aiohttp": "the extra `remote`",
    "matplotlib": "the extra `plots`, which a command without a picture does not need",
    "onnxruntime": "the extra `onnx`",
    "onnxscript": "the extra `onnx`",
    "psutil": "the extra `bench`",
    "ray": "the extra `ray`",
    "wandb": "Weights & Biases, which few install",
}
"""Package that a function may import -> the reason."""


@dataclass(frozen=True)
class Import:
    """One imported module."""

    file: str
    line: int
    module: str
    in_function: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} imports {self.module}"


def imports_of(path: Path, root: Path = ROOT) -> Iterator[Import]:
    """Yield all imports in a file except those under `if TYPE_CHECKING`."""
    file = path.relative_to(root).as_posix()

    def walk(node: ast.AST, in_function: bool) -> Iterator[Import]:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, in_function)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}:{node.lineno}: relative imports are not understood here"
            for module in {submodule(str(node.module), alias.name, root) for alias in node.names}:
                yield Import(file, node.lineno, module, in_function)
        in_function = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, in_function)

    return walk(ast.parse(path.read_text()), False)


def submodule(module: str, name: str, root: Path) -> str:
    """Return what `from module import name` imports: `module.name` if it is a module, else `module`."""
    path = root / module.replace(".", "/") / name
    return f"{module}.{name}" if path.is_dir() or path.with_suffix(".py").is_file() else module


def within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@cache
def imports_by(package: str) -> list[Import]:
    """Return all imports in a package or module."""
    place = ROOT / package.replace(".", "/")
    files = [*place.rglob("*.py"), *([place.with_suffix(".py")] if place.with_suffix(".py").is_file() else [])]
    return [found for path in sorted(files) for found in imports_of(path)]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_packages_do_not_import_those_above_them(package):
    assert imports_by(package)
    assert [str(found) for found in imports_by(package) if within(found.module, *FORBIDDEN[package])] == []


def test_plans_import_only_numpy():
    allowed = {*sys.stdlib_module_names, "numpy"}
    others = [found for found in imports_by("dali_pipelines.plan") if found.module.split(".")[0] not in allowed]
    assert [str(found) for found in others if not within(found.module, "dali_pipelines.plan")] == []


def test_store_and_datasets_do_not_import_upwards():
    upper = [f"dali_pipelines.{name}" for name in ("datasets", "prepare", "tasks", "pixels", "loader", "inspection")]
    assert [str(found) for found in imports_by("dali_pipelines.store") if within(found.module, *upper)] == []
    commands = ("dali_pipelines.prepare", "dali_pipelines.inspection", "dali_pipelines.loader")
    assert [str(found) for found in imports_by("dali_pipelines.datasets") if within(found.module, *commands)] == []


def test_there_are_no_import_cycles():
    arrows: dict[str, set[str]] = {}
    for found in (found for package in PACKAGES for found in imports_by(package)):
        name = found.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        arrows.setdefault(name, set()).update({found.module} - {name})
    assert len(arrows) > 300
    list(TopologicalSorter(arrows).static_order())


def test_entry_scripts_are_not_imported():
    found = [found for package in PACKAGES for found in imports_by(package)]
    assert [str(one) for one in found if within(one.module, *ENTRY_SCRIPTS)] == []


@pytest.mark.parametrize("package", [name for name in PACKAGES if name != "bench"])
def test_imports_are_at_the_top_of_files(package):
    """Except in bench/, whose commands are scripts, which every worker imports again."""

    in_functions = [found for found in imports_by(package) if found.in_function]
    assert imports_by(package)
    assert [str(found) for found in in_functions if found.module.split(".")[0] not in ALLOWED_IN_FUNCTIONS] == []


def test_imports_are_found_anywhere_in_a_file(tmp_path):
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "sub.py").touch()
    path = tmp_path / "nets" / "a.py"
    path.write_text(
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n"
        "    import av\n"
        "class A:\n"
        "    from nets import sub, other\n"
        "    async def f(self):\n"
        "        with self:\n"
        "            import trainers.run\n"
    )
    found = {(one.module, one.line, one.in_function) for one in imports_of(path, tmp_path)}
    assert found == {("typing", 1, False), ("nets.sub", 5, False), ("nets", 5, False), ("trainers.run", 8, True)}
