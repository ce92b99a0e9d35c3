"""The command `clipfeed`, which dispatches to all others."""

import importlib
import os
import subprocess
import sys
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

from configs import command
from configs.errors import how_to_install
from tests.helpers.runs import ROOT


def run(monkeypatch: pytest.MonkeyPatch, *argv: str) -> int | str | None:
    """Call the command; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["clipfeed", *argv])
    try:
        command.main()
    except SystemExit as exit:
        return exit.code
    return 0


def test_clipfeed_is_a_console_script():
    (script,) = entry_points(group="console_scripts", name="clipfeed")
    assert script.load() is command.main


@pytest.mark.slow
@pytest.mark.parametrize("name", command.COMMANDS)
def test_each_command_prints_help_with_its_name(monkeypatch, capsys, name):
    assert run(monkeypatch, name, "--help") == 0
    assert capsys.readouterr().out.startswith(f"usage: clipfeed {name} ")
    assert callable(importlib.import_module(command.COMMANDS[name][0]).main)


def test_without_a_command_all_commands_are_listed(monkeypatch, capsys):
    for argv in ([], ["--help"]):
        assert run(monkeypatch, *argv) == 0
        printed = capsys.readouterr().out
        assert all(f"  {name} " in printed for name in command.COMMANDS)
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"clipfeed {version('clipfeed')}\n"


@pytest.mark.parametrize(("typed", "nearest"), [("pretrian", "pretrain"), ("recipies", "recipes"), ("doctr", "doctor")])
def test_unknown_command_names_the_nearest(monkeypatch, capsys, typed, nearest):
    assert run(monkeypatch, typed) == 2
    assert f"no command '{typed}'; did you mean {nearest}?" in capsys.readouterr().err


def test_a_dotted_name_imports_nothing(monkeypatch, capsys):
    assert run(monkeypatch, "antigravity.fly") == 2
    assert "antigravity" not in sys.modules


def test_a_commands_exit_status_is_passed_on(monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, "prepare", str(tmp_path / "none"), "--out", str(tmp_path / "out")) == 2
    assert "no such file or folder" in capsys.readouterr().err


def test_missing_module_names_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(command.COMMANDS, "inspect", ("nvidia_dali_is_not_here", ""))
    assert run(monkeypatch, "inspect") == 2
    assert "install nvidia_dali_is_not_here with pip" in capsys.readouterr().err
    message = how_to_install(ModuleNotFoundError("No module named 'nvidia.dali'", name="nvidia.dali"))
    assert "nvidia-dali-cuda130" in message
    assert "nvidia-dali-cuda120" in message


def python(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run Python in another folder, whose own modules shadow the packages."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *args], cwd=folder, env=env, capture_output=True, text=True, timeout=100, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize("argv", [["--help"], ["recipes", "--names"], ["recipe", "ctp/demo"], ["pretrian"]])
def test_light_commands_import_no_torch(tmp_path, argv):
    """Each press of the tab key runs the command; each worker of `python -m clipfeed` imports the file again."""
    code = (
        f"import atexit, runpy, sys; sys.argv = ['clipfeed', *{argv}]\n"
        "atexit.register(lambda: print('imported', *{'torch', 'nvidia', 'numpy'} & set(sys.modules)))\n"
        "runpy.run_module('clipfeed', run_name='__main__')"
    )
    assert python(tmp_path, "-c", code).stdout.splitlines()[-1] == "imported"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "clashes"), [("nets/__init__.py", True), ("configs.py", True), ("nets/notes.txt", False)]
)
def test_a_user_package_that_shadows_ours_is_named(tmp_path, name, clashes):
    """A folder without __init__.py does not shadow a package."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    done = python(tmp_path, "-m", "clipfeed", "--version")
    assert done.returncode == clashes
    assert (f"Python finds {tmp_path / name} before it" in done.stderr) == clashes
