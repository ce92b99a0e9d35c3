"""The command `clipfeed`, which finds each other command."""

import importlib
import sys
from importlib.metadata import entry_points, version

import pytest

from configs import command


def run(monkeypatch: pytest.MonkeyPatch, *argv: str) -> int | str | None:
    """Call the command; return its exit status."""
    monkeypatch.setattr(sys, "argv", ["clipfeed", *argv])
    try:
        command.main()
    except SystemExit as exit:
        return exit.code
    return 0


def test_it_is_installed_under_its_name():
    """U09."""
    (script,) = entry_points(group="console_scripts", name="clipfeed")
    assert script.load() is command.main


@pytest.mark.slow
@pytest.mark.parametrize("name", command.COMMANDS)
def test_each_command_prints_its_help(monkeypatch, capsys, name):
    assert run(monkeypatch, name, "--help") == 0
    assert "usage: " in capsys.readouterr().out
    assert callable(importlib.import_module(command.COMMANDS[name][0]).main)


def test_without_a_command_all_are_listed(monkeypatch, capsys):
    for argv in ([], ["--help"]):
        assert run(monkeypatch, *argv) == 0
        printed = capsys.readouterr().out
        assert all(f"  {name} " in printed for name in command.COMMANDS)
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"clipfeed {version('clipfeed')}\n"


def test_a_command_that_is_none_is_answered_with_the_nearest(monkeypatch, capsys):
    assert run(monkeypatch, "pretrian") == 2
    assert "did you mean pretrain" in capsys.readouterr().err


def test_the_status_of_a_command_is_its_own(monkeypatch, capsys, tmp_path):
    assert run(monkeypatch, "prepare", str(tmp_path / "none"), "--out", str(tmp_path / "out")) == 2
    assert "no such file or folder" in capsys.readouterr().err
