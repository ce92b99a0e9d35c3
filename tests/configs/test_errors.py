"""What a command answers to Ctrl-C."""

import sys

import pytest

from configs.errors import run_command


@pytest.mark.parametrize("text", ["raise KeyboardInterrupt", "def main(argv):\n    raise KeyboardInterrupt"])
def test_ctrl_c_is_one_word_and_status_130_while_a_command_loads_and_while_it_runs(tmp_path, monkeypatch, capsys, text):
    """Before the run began it was a traceback."""
    (tmp_path / "loads_slowly.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "loads_slowly", raising=False)
    with pytest.raises(SystemExit) as end:
        run_command("loads_slowly")
    assert end.value.code == 130
    assert capsys.readouterr().err == "interrupted\n"
