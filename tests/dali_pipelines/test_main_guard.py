"""A script that starts workers outside a main guard ends with a one-line error."""

import os
import subprocess
import sys
from zipfile import ZipFile

import pytest

from tests.helpers.runs import ROOT

pytestmark = pytest.mark.slow

SCRIPT = """
from dali_pipelines.workers import run_jobs
print(sorted(result for _, result in run_jobs(abs, [1, -2], workers=2)))
"""
WAY_OUT = "put what it does under if __name__ == '__main__':"


def run(*arguments, text=None, env=None):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=60, cwd=ROOT, env=env, check=False
    )


def test_a_missing_main_guard_is_a_one_line_error(tmp_path):
    """Its workers, which run it again, print nothing."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = run(script)
    expected = f"error: {script} starts worker processes, which run it again: {WAY_OUT}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)
    guarded = SCRIPT.replace("print", "if __name__ == '__main__': print")
    script.write_text(guarded)
    done = run(script)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2]\n", "")


def test_a_script_from_stdin_is_a_one_line_error():
    """Workers cannot read it."""
    done = run("-", text=SCRIPT)
    expected = f"error: worker processes cannot read the script <stdin>: save it as a file, and {WAY_OUT}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", expected)
    done = run("-c", SCRIPT)  # workers need not read it
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2]\n", "")


def test_a_program_in_a_zip_may_have_workers(tmp_path):
    path = tmp_path / "program.zip"
    with ZipFile(path, "w") as program:
        program.writestr("__main__.py", SCRIPT)  # workers do not run it again
    done = run(path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert (done.returncode, done.stdout, done.stderr) == (0, "[1, 2]\n", "")
