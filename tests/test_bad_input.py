"""User errors in whole commands end with status 2 and one line that names the cause and the way out."""

import os
import signal
from pathlib import Path

import pytest

from configs import errors
from tests.helpers.loop import lines
from tests.helpers.processes import join, start_command
from tests.helpers.ranks import two_ranks
from tests.helpers.runs import PRETRAIN, write_recipe
from trainers.commands import pretrain, probe

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("damage", [Path.unlink, lambda path: os.truncate(path, 600)], ids=["deleted", "truncated"])
def test_a_video_damaged_after_prepare_is_replaced_and_named(own_store, tmp_path, caplog, damage, workers):
    damage(own_store.path(3))
    recipe = write_recipe(tmp_path, own_store.root)
    options = ["--device", "cpu", "--max-steps", "3", "--set", f"data.workers={workers}"]
    pretrain.main(["--config", str(recipe), *options])
    (message,) = caplog.messages
    assert message.startswith(f"{own_store.info(3).name} is unreadable and replaced by others from now on: ")
    assert str(own_store.path(3)) in message
    assert [(line["step"], line["unreadable_videos"]) for line in lines(tmp_path)][-1] == (3, 1)


@pytest.mark.parametrize(("option", "most"), [("--clips", 1000), ("--stride", 2147483647)])
def test_a_probe_needs_a_run_and_clips(tmp_path, option, most, refused, capsys):
    needed = ["--work-dir", str(tmp_path / "gone"), "--train", "a", "--test", "b"]
    assert refused(probe.main, *needed).startswith(f"error: no run at {tmp_path / 'gone'}; make one with ")
    with pytest.raises(SystemExit, match="2"):
        probe.main([*needed, option, "0"])
    assert capsys.readouterr().err.endswith(f"error: argument {option}: '0' is no whole number from 1 to {most}\n")
    with pytest.raises(SystemExit, match="2"):
        probe.main([*needed, "--json", "train.txt"])
    assert capsys.readouterr().err.endswith("error: --json train.txt: must end in .json\n")


def test_a_probe_says_that_it_cannot_write_before_it_begins(tmp_path, refused):
    """It said so after the features of all videos."""
    (tmp_path / "list.txt").touch()
    out = tmp_path / "list.txt" / "probe.json"
    line = refused(probe.main, "--work-dir", tmp_path, "--train", "a", "--test", "b", "--json", out)
    assert line == f"error: cannot write to {out.parent}: File exists; choose another --json"


def test_under_torchrun_an_error_is_printed_once(vp9_store, tmp_path):
    recipe, gone = write_recipe(tmp_path, vp9_store.root), tmp_path / "gone"
    # As under torchrun, the other rank is killed once the first has failed.
    statuses, text = two_ranks(PRETRAIN, tmp_path, "--config", recipe, "--data-dir", gone, "--device", "cpu", grace=3)
    assert statuses == [2, -signal.SIGKILL]
    assert [line for line in text.splitlines() if "gone" in line] == [
        f"error: {gone} does not exist; make a dataset with "
        "`clipfeed prepare SRC --out DIR` and give DIR, to a recipe with --data-dir"
    ]
    assert "gone" not in (tmp_path / "rank1.out").read_text()


def test_an_error_of_another_rank_is_printed(tmp_path, monkeypatch, refused):
    monkeypatch.setattr(errors, "REPORT_DELAY_S", 0)
    monkeypatch.setenv("RANK", "1")
    line = refused(pretrain.main, "--config", tmp_path / "gone.yaml")
    assert line.startswith("error: rank 1: cannot read the config")


def test_only_debug_prints_the_traceback(tmp_path):
    arguments = (PRETRAIN, "--config", tmp_path / "gone.yaml")
    plain, debug = tmp_path / "plain", tmp_path / "debug"
    assert join([start_command(*arguments, output=plain)]) == [2]
    assert plain.read_text().count("\n") == 1
    assert join([start_command(*arguments, "--debug", output=debug)]) == [1]
    assert "Traceback" in debug.read_text()
    assert "gone.yaml" in debug.read_text().splitlines()[-1]
