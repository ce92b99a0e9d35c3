"""Bench scripts whose loaders have workers: each worker imports the script again, so imports must be cheap."""

import subprocess
import sys
from pathlib import Path

import pytest

import bench

FOLDER = Path(str(bench.__file__)).parent
SCRIPTS = [path.stem for path in FOLDER.glob("*.py") if "imports this file once more" in path.read_text()]


def test_the_scripts_are_found():
    assert {"loader_throughput", "storage", "training_throughput"} <= {*SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_worker_that_imports_the_script_does_not_wait_for_torch_or_dali(script):
    code = f"import sys, bench.{script}; print(*{{'torch', 'nvidia.dali'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
