"""Imports that a worker process makes when it reruns an entry script."""

import subprocess
import sys

import pytest

from tests.helpers.runs import ROOT

TRAINERS = ROOT / "trainers"


@pytest.mark.parametrize("script", sorted(path.name for path in TRAINERS.glob("*.py")))
def test_entry_scripts_import_nothing_in_worker_processes(script):
    """A spawned process runs the script again, under a name other than __main__."""
    code = (
        "import runpy, sys; before = set(sys.modules)\n"
        f"runpy.run_path({str(TRAINERS / script)!r}, run_name='__mp_main__')\n"
        "print(*{name.split('.')[0] for name in set(sys.modules) - before} & {'torch', 'nvidia', 'trainers', 'nets'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == []
