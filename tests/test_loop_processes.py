"""The training loop as processes: killed, told to stop, and on two ranks."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.test_loop import LATE_ROW, STEPS, assert_same_weights, history, lines, weights, write_recipe
from tests.test_loop import run as run_here

ROOT = Path(__file__).parents[1]


def start(tmp_path: Path, *args: str, ranks: int = 2, name: str = "run") -> subprocess.Popen:
    """`pretrain.py` in tmp_path/name, under torchrun for several ranks."""
    recipe = write_recipe(tmp_path, name)
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks > 1 else []
    worker = str(ROOT / "tests" / "loop_worker.py")
    return subprocess.Popen(
        [sys.executable, *torchrun, worker, "--config", str(recipe), "--device", "cpu", *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    )


def run(tmp_path: Path, *args: str, name: str = "run") -> tuple[int, str]:
    """Exit status and output of two ranks."""
    process = start(tmp_path, *args, name=name)
    output = process.communicate(timeout=120)[0]
    return process.returncode, output


def test_killed_then_told_to_stop_then_resumed_two_ranks_come_to_the_same_bits(tmp_path):
    """Rank 1 is killed in step 7 of 15, its successor gets SIGTERM in step 10, both in the middle of an epoch."""
    assert run(tmp_path, name="whole")[0] == 0
    status, _ = run(tmp_path, "--set", "plan.kill_step=6")
    assert status != 0
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 7))
    status, output = run(tmp_path, "--set", "plan.term_step=9")
    assert status == 0, output
    assert "stopped by a signal to another rank after step 10 of 15" in output
    status, output = run(tmp_path)
    assert status == 0, output
    assert history(tmp_path) == history(tmp_path, "whole")
    assert_same_weights(weights(tmp_path), weights(tmp_path, name="whole"))
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == list(range(1, STEPS + 1))


def test_two_ranks_make_the_steps_of_one_until_a_gradient_is_not_finite(tmp_path):
    """With two micro-steps each. Both ranks end at once, and the error names the guilty micro-step's videos."""
    options = ("--set", "net.plain=true", "--set", f"plan.nan_row={LATE_ROW}")
    status, output = run(tmp_path, *options, "--set", "train.accumulate=2")
    assert status != 0
    (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: step 5: the loss is not finite")
    assert f"{LATE_ROW} class/video_{LATE_ROW}" in error
    assert error.count("class/video_") == 2
    assert output.count("Traceback") == 1  # torchrun's own; none of the ranks'
    run_here(tmp_path, *options, "--max-steps", "4", name="one")
    for ours, theirs in zip(lines(tmp_path), lines(tmp_path, "one"), strict=True):
        for key in ("loss", "target", "grad_norm", "lr"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-4)


def test_sigusr1_from_outside_ends_with_status_0(tmp_path):
    process = start(tmp_path, "--set", "plan.seconds=0.2", ranks=1)
    for line in process.stdout:
        if line.startswith("step 2/"):
            process.send_signal(signal.SIGUSR1)
    process.stdout.close()
    assert process.wait(60) == 0
    assert line.startswith("stopped by SIGUSR1")
