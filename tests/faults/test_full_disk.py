"""A full disk: earlier files stay whole, and training continues if the recipe says so."""

import errno
import itertools
import json
import mmap
import os
import subprocess
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs import copy_recipe
from configs.errors import UserError
from dali_pipelines import progress
from dali_pipelines.store.files import Appended, write_json
from tests.helpers.loop import STEPS, assert_same_weights, history, lines, run, weights
from tests.helpers.results import rows
from trainers.commands import report
from trainers.engine import checkpoint, loggers, metrics
from trainers.engine.distributed import Ranks
from trainers.engine.work_dir import LOCK, locked
from trainers.evaluation import validation
from trainers.evaluation.validation import Validator

SMALL = ("--set", "train.checkpoint_every=1", "--set", "train.keep=100", "--set", "train.loggers=[]")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a 128 kB file system, with room for some checkpoints of the fake task's network."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)]
    if (done := subprocess.run(command, capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"a file system cannot be mounted here, which takes root: {done.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def fill(disk: Path) -> None:
    """Fill the disk to the last page."""
    with (disk / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(mmap.PAGESIZE))


def test_a_full_disk_ends_the_run_and_keeps_earlier_checkpoints(tmp_path, small_disk):
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


def test_go_on_skips_checkpoints_until_there_is_room(tmp_path, small_disk, capsys, monkeypatch):
    run(tmp_path, *SMALL, name="whole")
    filler = small_disk / "ballast"
    save = checkpoint.save

    def with_little_room(folder, step, content, *, keep):
        filler.unlink(missing_ok=True)
        if step in (2, 3):
            with filler.open("wb") as file:
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


FIGURES = ("metrics.jsonl", "train.csv", "tensorboard")
LOGGED = ("--set", "train.loggers=[tensorboard,csv]", "--set", "train.keep=100")


class RefusingFile(Appended):
    """File on a disk that is full whenever `full(line)` is true; half of the line still fits."""

    full = staticmethod(lambda data: False)
    error = errno.ENOSPC
    name = ""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.file = _HalfWritingFile(self.file, self) if self.name in str(path) else self.file  # type: ignore[assignment]


class _HalfWritingFile:
    def __init__(self, file, owner) -> None:
        self.file, self.owner, self.begun = file, owner, False

    def write(self, data):
        if not self.begun and not self.owner.full(bytes(data)):
            return self.file.write(data)
        self.begun = not self.begun
        if self.begun and len(data) > 1:
            return self.file.write(data[: len(data) // 2])
        raise OSError(self.owner.error, os.strerror(self.owner.error))

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.fixture
def refuse_writes(monkeypatch):
    for module in (metrics, loggers):
        monkeypatch.setattr(module, "Appended", RefusingFile)
    return lambda **how: [monkeypatch.setattr(RefusingFile, name, value) for name, value in how.items()]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Return the folder of an undisturbed run with loggers."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, *LOGGED)
    return folder


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Check that every table has each step once and that the weights are equal."""
    steps = list(range(1, STEPS + 1))
    assert history(ours) == history(theirs)
    assert [int(row["step"]) for row in rows(ours / "run" / "train.csv")] == steps
    board = EventAccumulator(str(ours / "run" / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == steps
    assert_same_weights(weights(ours), weights(theirs))


@pytest.mark.parametrize(
    ("name", "error"),
    [*((name, errno.ENOSPC) for name in FIGURES), (FIGURES[0], errno.EDQUOT), (FIGURES[0], errno.EIO)],
)
def test_unwritable_figures_end_the_run_and_no_step_is_duplicated(whole, tmp_path, refuse_writes, name, error):
    tries = itertools.count(1)
    refuse_writes(name=name, error=error, full=staticmethod(lambda data: next(tries) > 6))
    way_out = r"make room and start the same command again: it goes on from the last checkpoint$"
    with pytest.raises(UserError, match=rf"^cannot write the .*{os.strerror(error)}: '.*{name}.*'; {way_out}"):
        run(tmp_path, *LOGGED)
    assert checkpoint.list_steps(tmp_path / "run" / "checkpoints") == [4]
    refuse_writes(full=staticmethod(lambda data: False))
    run(tmp_path, *LOGGED)
    assert_same_run(tmp_path, whole)


@pytest.mark.parametrize("name", FIGURES)
def test_go_on_keeps_figures_until_there_is_room(whole, tmp_path, refuse_writes, capsys, name):
    tries = itertools.count(1)
    refuse_writes(name=name, full=staticmethod(lambda data: 5 < next(tries) < 9))
    run(tmp_path, *LOGGED, "--set", "train.full_disk=go_on")
    assert_same_run(tmp_path, whole)
    assert capsys.readouterr().out.count("warning: cannot write the figures of the run: [Errno 28] No space left") == 1


def test_go_on_saves_no_checkpoint_past_lost_lines_until_the_end(tmp_path, refuse_writes, capsys):
    refuse_writes(name="metrics.jsonl", full=staticmethod(lambda data: json.loads(data or '{"step": 0}')["step"] >= 7))
    run(tmp_path, *LOGGED, "--set", "train.full_disk=go_on")
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6]
    assert checkpoint.list_steps(tmp_path / "run" / "checkpoints") == [4, STEPS]
    assert "warning: 9 lines lost: [Errno 28] No space left on device: " in capsys.readouterr().out


def test_a_run_survives_a_log_on_a_full_disk(whole, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)
    with Path("/dev/full").open("w") as full, redirect_stdout(full):
        run(tmp_path, *LOGGED, "--set", "train.full_disk=go_on")
        with suppress(OSError):
            full.close()
    assert_same_run(tmp_path, whole)


def test_an_unwritable_best_checkpoint_keeps_the_old_best(tmp_path, monkeypatch, capsys):
    test = SimpleNamespace(test=SimpleNamespace(short_side=32))
    config = SimpleNamespace(train=SimpleNamespace(full_disk="go_on"), plan=test)
    monkeypatch.setattr(validation, "content", lambda run: {})
    monkeypatch.setattr(validation, "replace", lambda plan, test: plan)
    validator = Validator(cast(Any, range(5)), cast(Any, config), Ranks(torch.device("cpu")), tmp_path)
    validator._write(cast(Any, None), 3, (0.4, -1.0))
    before = (tmp_path / "best.pt").read_bytes()
    monkeypatch.setattr(os, "fsync", no_room)
    validator._write(cast(Any, None), 6, (0.8, -0.5))
    assert validator.best == (0.4, -1.0)
    assert (tmp_path / "best.pt").read_bytes() == before
    assert (
        f"warning: cannot write {tmp_path}/best.pt: No space left on device; the one before" in capsys.readouterr().out
    )
    config.train.full_disk = "stop"
    with pytest.raises(UserError, match=r"^cannot write .*best.pt: No space left on device; make room"):
        validator._write(cast(Any, None), 6, (0.8, -0.5))


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_unwritable_pictures_do_not_hide_nonfinite_samples(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("trainers.engine.nonfinite.replacing", no_room)
    with pytest.raises(UserError, match=r"^step \d+: some samples have nan or infinity in clips .*: 26 class/video_26"):
        run(tmp_path, "--set", "plan.nan_row=26", "--set", "train.loggers=[]")
    assert (
        "warning: cannot write a picture of these samples: [Errno 28] No space left on device"
        in capsys.readouterr().out
    )


def test_a_lock_without_room_for_its_owner_works(small_disk):
    fill(small_disk)
    with locked(small_disk):
        assert (small_disk / LOCK).exists()


@pytest.mark.parametrize("command", ["recipe", "report", "probe"])
def test_small_files_of_commands_are_whole_or_absent(small_disk, command):
    fill(small_disk)
    out = small_disk / "out.png"
    write = {
        "recipe": lambda: copy_recipe.main(["ctp/demo", "--out", str(out)]),
        "report": lambda: report.plot([{"step": 1, "loss": 2.0, "top1": 1.0, "chance": 0.5}], "top1", out),
        "probe": lambda: write_json(out, {"top1": 1}),
    }[command]
    with pytest.raises((OSError, UserError), match=rf"{out}.*No space left|No space left.*{out}"):
        write()
    assert not [path for path in small_disk.iterdir() if path.name != "ballast"]
