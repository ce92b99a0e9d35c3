"""Hanging videos, steps and ranks are ended, named and explained."""

import ctypes
import os
import signal
import time

import pytest
import torch

from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task, ctp
from tests.helpers import loop_worker
from tests.helpers.loop import run_two_ranks, write_recipe
from tests.helpers.processes import join, start, start_command
from trainers.engine import watchdog

pytestmark = pytest.mark.slow


class Stuck(Task):
    """Task that hangs when it plans a clip of `video03`."""

    def plan(self, info, rng):
        if info.name.endswith("video03"):
            time.sleep(10**6)
        return super().plan(info, rng)


def test_a_video_that_hangs_its_workers_is_named_and_replaced(h264_store):
    config = ctp.Config(num_frames=4, size=32, short_sides=(32,), patches=1)
    loader = ClipLoader(h264_store, Stuck("ctp", config), batch_size=4, seed=5, threads=1, workers=2, timeout_s=1)
    batches = list(loader)
    loader.close()
    (name,) = loader.unreadable
    assert name.endswith("video03")
    assert loader.unreadable[name] == "its process was killed twice, by a limit of 1 s for a job"
    sound = list(ClipLoader(h264_store, Task("ctp", config), batch_size=4, seed=5, threads=1))
    for ours, theirs in zip(batches, sound, strict=True):
        for row, expected, *pair in zip(ours["index"], theirs["index"], ours["clips"], theirs["clips"], strict=True):
            assert torch.equal(*pair) or h264_store.info(int(expected)).name == name
            assert h264_store.info(int(row)).name != name


def test_a_step_that_hangs_ends_the_run_with_its_stack(tmp_path):
    output = tmp_path / "output"
    recipe = write_recipe(tmp_path, "run")
    options = ("--device", "cpu", "--set", "plan.hang_step=2", "--set", "train.timeout_s=3")
    process = start_command(loop_worker.__file__, "--config", recipe, *options, output=output)
    assert join([process]) == [watchdog.STATUS]
    printed = output.read_text()
    assert "error: step 3 on rank 0 (the step before was of class/video_" in printed
    assert "takes longer than 3 s (train.timeout_s). The same command goes on from the last checkpoint" in printed
    assert "loop_worker.py" in printed.partition("stacks")[2]


def test_when_one_rank_hangs_all_ranks_print_stacks(tmp_path):
    statuses, _ = run_two_ranks(tmp_path, "--set", "plan.hang_step=2", "--set", "train.timeout_s=3")
    assert watchdog.STATUS in statuses
    stacks = [(tmp_path / f"rank{rank}.out").read_text().partition("stacks")[2] for rank in range(2)]
    assert "loop_worker.py" in stacks[1]
    assert "clip_grad_norm_" in stacks[0] or "loop.py" in stacks[0]


def _work(began, seconds: float) -> None:
    with watchdog.watched(4, lambda: "the work"):
        began.touch()
        for _ in range(round(seconds / 0.1)):  # one long sleep would end while the process is suspended
            time.sleep(0.1)


def test_a_suspended_process_goes_on(tmp_path):
    process = start(_work, tmp_path / "began", 2.5)
    assert process.pid
    while not (tmp_path / "began").exists():
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGSTOP)
    time.sleep(5)
    os.kill(process.pid, signal.SIGCONT)
    assert join([process]) == [0]


def test_a_process_that_is_not_suspended_is_ended(tmp_path):
    assert join([start(_work, tmp_path / "began", 60.0)]) == [watchdog.STATUS]


def _hold_gil() -> None:
    watchdog.HELD_GIL_S = 1.0
    with watchdog.watched(1, lambda: "the work"):
        ctypes.PyDLL(None).sleep(60)


def test_a_thread_that_hangs_with_the_gil_is_ended():
    assert join([start(_hold_gil)]) == [1]
