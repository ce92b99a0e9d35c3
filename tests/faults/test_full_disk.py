"""A full disk: what was written stays, and training goes on where that is asked for."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from configs.errors import UserError
from tests.trainers.test_loop import STEPS, assert_same_weights, lines, run, weights
from trainers.engine import checkpoint

SMALL = ("--set", "train.checkpoint_every=1", "--set", "train.keep=100", "--set", "train.loggers=[]")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 128 kB, with room for some checkpoints of the made-up network."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("a file system cannot be mounted here: it takes root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_the_run_and_leaves_all_earlier_checkpoints(tmp_path, small_disk):
    run(tmp_path, *SMALL, name="whole")
    with pytest.raises(UserError, match=r"^cannot write .*No space left on device.*the same command") as error:
        run(small_disk, *SMALL)
    folder = small_disk / "run" / "checkpoints"
    steps = checkpoint.list_steps(folder)
    assert 0 < len(steps) < STEPS
    assert f"{folder}" in str(error.value)
    for step in steps:
        assert_same_weights(weights(small_disk, step), weights(tmp_path, step, name="whole"))
    assert not [path for path in folder.iterdir() if path.suffix == ".part"]


def test_a_run_may_go_on_without_checkpoints_and_writes_them_once_there_is_room(
    tmp_path, small_disk, capsys, monkeypatch
):
    run(tmp_path, *SMALL, name="whole")
    ballast = small_disk / "ballast"
    save = checkpoint.save

    def with_little_room(folder, step, content, *, keep):
        ballast.unlink(missing_ok=True)
        if step in (2, 3):
            with ballast.open("wb") as file:
                free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
                file.write(bytes(max(free - 16384, 0)))
        return save(folder, step, content, keep=keep)

    monkeypatch.setattr(checkpoint, "save", with_little_room)
    run(small_disk, *SMALL, "--set", "train.full_disk=go_on", "--set", "train.keep=1")
    output = capsys.readouterr().out
    for step in (2, 3):
        assert f"warning: cannot write the checkpoint of step {step} to " in output
    assert "training goes on" in output
    assert checkpoint.list_steps(small_disk / "run" / "checkpoints") == [STEPS]
    assert_same_weights(weights(small_disk), weights(tmp_path, name="whole"))
    assert [line["step"] for line in lines(small_disk)] == list(range(1, STEPS + 1))
