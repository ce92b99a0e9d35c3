"""Progress of a long job, on a terminal and elsewhere."""

import io
import signal
import subprocess
import sys
import time

import pytest
from tqdm import tqdm

from dali_pipelines import progress
from dali_pipelines.progress import bar
from tests.helpers.runs import ROOT


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_without_a_terminal_lines_are_printed_at_intervals(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    shown: tqdm[None] = bar(desc="step", total=9, initial=7)
    with shown:
        for loss in (0.5, 0.25):
            shown.set_postfix_str(f"loss {loss}", refresh=False)
            shown.update()
    output, errors = capsys.readouterr()
    assert output.splitlines() == [
        "step 8/9, 00:00 elapsed, 00:00 left, loss 0.5",
        "step 9/9, 00:00 elapsed, 00:00 left, loss 0.25",
    ]
    assert errors == ""


def test_clock_changes_affect_neither_lines_nor_durations(monkeypatch, capsys):
    hours = [0]
    monkeypatch.setattr("tqdm.std.time", lambda: time.time() + 3600 * hours[0])
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    shown: tqdm[None] = bar(desc="step", total=3)
    with shown:
        for hours[0] in (0, -5, 5):
            shown.update()
    durations = [line.partition(", ")[2] for line in capsys.readouterr().out.splitlines()]
    assert durations == ["00:00 elapsed, 00:00 left"] * 3


@pytest.mark.parametrize(("leave", "lines"), [(True, 1), (False, 0)])
def test_a_short_job_prints_only_its_end(capsys, leave, lines):
    assert list(bar(range(100), desc="video", leave=leave)) == [*range(100)]
    assert capsys.readouterr().out.count("video 100/100") == lines


def test_a_terminal_shows_a_bar_in_place(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    shown: tqdm[None] = bar(desc="step", total=2)
    with shown:
        shown.set_postfix_str("loss 0.5", refresh=False)
        shown.update(2)
    assert capsys.readouterr().out == ""
    first, *_, last = terminal.getvalue().strip("\r\n").split("\r")
    assert first.startswith("step 0/2 |")
    assert last.startswith("step 2/2 |")
    assert last.endswith("| 00:00<00:00, loss 0.5")


def test_quiet_ranks_print_nothing(monkeypatch, capsys):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    assert list(bar("ab", desc="video", quiet=True)) == ["a", "b"]
    assert capsys.readouterr() == ("", "")


def test_a_killed_process_with_a_bar_leaks_no_semaphore(tmp_path):
    """multiprocessing would warn of it. The process is spawned, because a fork of this one would leave none."""
    script = tmp_path / "script.py"
    script.write_text(
        "import multiprocessing, os, signal\nfrom dali_pipelines.progress import bar\n"
        "def begin():\n    bar(desc='step', total=9).update()\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "if __name__ == '__main__':\n    process = multiprocessing.get_context('spawn').Process(target=begin)\n"
        "    process.start()\n    process.join()\n    print(process.exitcode)"
    )
    ended = subprocess.run(
        [sys.executable, script], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    assert ended.stdout.endswith(f"\n{-signal.SIGKILL}\n")
    assert ended.stderr == ""
