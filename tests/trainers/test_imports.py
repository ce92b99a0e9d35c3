"""Who imports whom in trainers/, and what a worker process imports with an entry script."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers.runs import ROOT

TRAINERS = ROOT / "trainers"
BELOW = {
    "engine": {"engine"},
    "weights": {"engine", "weights"},
    "evaluation": {"engine", "weights", "evaluation"},
    "diagnosis": {"engine", "diagnosis"},
    "commands": {"engine", "weights", "evaluation", "diagnosis", "commands"},
}
"""Package -> those that it may import."""


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in TRAINERS.rglob("*.py")}


def imports_of(path: Path) -> set[str]:
    """The modules of trainers/ that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("trainers"):
            found |= {f"{node.module}.{name.name}" for name in node.names} | {node.module}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return found & MODULES.keys()


def test_no_module_imports_itself_by_way_of_others():
    assert len(MODULES) > 40
    list(TopologicalSorter({name: imports_of(path) - {name} for name, path in MODULES.items()}).static_order())


@pytest.mark.parametrize("package", BELOW)
def test_a_library_imports_no_command_and_the_engine_no_evaluation(package):
    for name, path in MODULES.items():
        if name.startswith(f"trainers.{package}"):
            packages = {other.split(".")[1] for other in imports_of(path)}
            assert packages <= BELOW[package], name


@pytest.mark.parametrize("script", sorted(path.name for path in TRAINERS.glob("*.py")))
def test_a_worker_process_imports_nothing_with_an_entry_script(script):
    """A spawned process runs the script again, under another name than __main__."""
    code = (
        "import runpy, sys; before = set(sys.modules)\n"
        f"runpy.run_path({str(TRAINERS / script)!r}, run_name='__mp_main__')\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} & {'torch', 'nvidia', 'trainers', 'nets'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == []
