"""After a power cut only flushed bytes are left, and the run resumes from them."""

import os
import shutil
from pathlib import Path

import pytest

from bench.faults.same import compare
from tests.helpers.loop import lines, run
from trainers.engine import checkpoint

LOGGERS = ("--set", "train.loggers=[tensorboard, csv]")


class PowerCut(BaseException):
    pass


@pytest.fixture
def disk(monkeypatch) -> dict[int, bytes]:
    """Record the bytes of each file, by inode, at its last fsync."""
    flushed: dict[int, bytes] = {}
    fsync = os.fsync

    def noted(handle: int) -> None:
        fsync(handle)
        path = Path(f"/proc/self/fd/{handle}")
        if path.is_file():
            flushed[os.fstat(handle).st_ino] = path.read_bytes()

    monkeypatch.setattr(os, "fsync", noted)
    return flushed


@pytest.mark.parametrize("step", [4, 8])
def test_steps_of_a_checkpoint_are_logged_after_a_power_cut(tmp_path, disk, monkeypatch, step):
    run(tmp_path, *LOGGERS, name="whole")
    save = checkpoint.save

    def cut(folder, number, content, *, keep):
        saved = save(folder, number, content, keep=keep)
        if number == step:
            raise PowerCut
        return saved

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", cut)
        with pytest.raises(PowerCut):
            run(tmp_path, *LOGGERS, name="cut")
    for path in (tmp_path / "cut").rglob("*"):
        if path.is_file():
            lasting = tmp_path / "run" / path.relative_to(tmp_path / "cut")
            lasting.parent.mkdir(parents=True, exist_ok=True)
            lasting.write_bytes(disk.get(path.stat().st_ino, b""))
    shutil.rmtree(tmp_path / "cut")
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, step + 1))
    run(tmp_path, *LOGGERS)
    assert compare(tmp_path / "run", tmp_path / "whole") == ([], 0)
