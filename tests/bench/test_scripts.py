"""Bench scripts whose loaders have workers: each worker imports the script again, so imports must be cheap."""

import subprocess
import sys
from pathlib import Path

import pytest

import bench

FOLDER = Path(str(bench.__file__)).parent
START_WORKERS = ["loader_throughput", "prepare_throughput", "storage", "training_throughput"]


@pytest.mark.parametrize("script", START_WORKERS)
def test_importing_the_script_imports_neither_torch_nor_dali(script):
    code = f"import sys, bench.{script}; print(*{{'torch', 'nvidia.dali'}} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
