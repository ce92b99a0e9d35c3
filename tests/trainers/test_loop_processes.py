"""The training loop in processes: killed, stopped by signals, and on two ranks."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.helpers import loop_worker
from tests.helpers.loop import (
    LATE_ROW,
    STEPS,
    assert_same_weights,
    history,
    lines,
    run,
    run_two_ranks,
    weights,
    write_recipe,
)
from tests.helpers.loop_worker import VIDEOS
from tests.helpers.processes import join, start, start_command
from tests.helpers.ranks import start_agents
from tests.helpers.results import rows
from trainers.engine.stop import StopSignal

pytestmark = pytest.mark.slow


def worker(tmp_path: Path, *args: str, name: str = "run") -> tuple[Any, ...]:
    """Return the command line of `pretrain.py` on the fake task, with work dir tmp_path/name."""
    return (loop_worker.__file__, "--config", write_recipe(tmp_path, name), "--device", "cpu", *args)


def test_two_ranks_killed_then_stopped_resume_bit_identically(tmp_path):
    """Rank 1 is killed in step 7 of 15, and its successor gets SIGTERM in step 10, both in mid-epoch."""
    assert run_two_ranks(tmp_path, name="whole")[0] == [0, 0]
    first, second = run_two_ranks(tmp_path, "--set", "plan.kill_step=6")[0]
    assert first != 0
    assert second == -signal.SIGKILL
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, 7))
    status, output = run_two_ranks(tmp_path, "--set", "plan.term_step=9")
    assert status == [128 + signal.SIGTERM] * 2
    assert "stopped by SIGTERM after step 10 of 15" in output
    assert run_two_ranks(tmp_path)[0] == [0, 0]
    assert history(tmp_path) == history(tmp_path, "whole")
    assert_same_weights(weights(tmp_path), weights(tmp_path, name="whole"))
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == list(range(1, STEPS + 1))


def test_two_ranks_make_the_steps_of_one_until_a_nonfinite_gradient(tmp_path):
    """With two micro-steps per step. Both ranks stop, and the error names the failing micro-step's videos."""
    options = ("--set", "net.plain=true", "--set", f"plan.nan_row={LATE_ROW}")
    (first, _), output = run_two_ranks(tmp_path, *options, "--set", "train.accumulate=2", grace=0)  # as torchrun does
    assert first == 2
    (error,) = [line for line in output.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: step 5: some samples have nan or infinity in clips")
    assert f"{LATE_ROW} class/video_{LATE_ROW}" in error
    assert error.count("class/video_") == 1
    assert "Traceback" not in output
    run(tmp_path, *options, "--max-steps", "4", name="one")
    for ours, theirs in zip(lines(tmp_path), lines(tmp_path, "one"), strict=True):
        for key in ("loss", "target", "grad_norm", "lr"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-4)


def test_terms_of_other_names_on_another_rank_end_the_run_in_one_line(tmp_path):
    """The log had the mean of both under rank 0's name; another number of terms ended in a traceback or a hang."""
    (status, _), output = run_two_ranks(tmp_path, "--set", "net.term_of_rank=true", grace=0)
    assert status == 2
    differ = "terms: ['loss', 'target', 'rank0'] on rank 0, ['loss', 'target', 'rank1'] on rank 1"
    assert f"error: the ranks differ in {differ}" in output.splitlines()[-1]


def test_a_run_continues_with_other_ranks(tmp_path):
    """Losses of more ranks differ by rounding, samples not at all."""
    plain = ("--set", "net.plain=true")
    run(tmp_path, *plain, name="one")
    run(tmp_path, *plain, "--max-steps", "4")
    assert run_two_ranks(tmp_path, *plain, "--max-steps", "11")[0] == [0, 0]
    run(tmp_path, *plain)
    for ours, theirs in zip(history(tmp_path), history(tmp_path, "one"), strict=True):
        assert ours.keys() == theirs.keys()
        assert ours == {key: pytest.approx(value, rel=1e-4) for key, value in theirs.items()}


def test_unreadable_videos_of_all_ranks_are_named_also_after_resume(tmp_path):
    order = torch.randperm(VIDEOS, generator=torch.Generator().manual_seed(7000)).tolist()
    first, second = order[4], order[20]  # rank 1's first videos in steps 1 and 3, which have 8 each
    status, output = run_two_ranks(tmp_path, "--set", f"plan.lost_row={first}", "--max-steps", "2")
    assert status == [0, 0]
    table = tmp_path / "run" / "unreadable.csv"
    assert f"1 video unreadable (reasons in {table}): class/video_{first:02d}" in output
    status, output = run_two_ranks(tmp_path, "--set", f"plan.lost_row={second}", "--max-steps", "4")
    assert status == [0, 0]
    names = [f"class/video_{row:02d}" for row in (first, second)]
    assert f"2 videos unreadable (reasons in {table}): {', '.join(names)}" in output
    assert rows(table) == [{"name": name, "reason": "rank 1 cannot read it"} for name in names]
    assert [line["unreadable_videos"] for line in lines(tmp_path)] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("number", "env", "status"),
    [(signal.SIGUSR1, {}, 138), (signal.SIGHUP, {}, 129), (signal.SIGUSR1, {"TORCHELASTIC_RUN_ID": "1"}, 0)],
)
def test_signals_give_a_shells_exit_status_except_under_torchrun(tmp_path, number, env, status):
    output, metrics = tmp_path / "output", tmp_path / "run" / "metrics.jsonl"
    process = start_command(*worker(tmp_path, "--set", "plan.seconds=0.2"), output=output, env=env)
    while not (metrics.exists() and len(lines(tmp_path)) >= 2):
        assert process.exitcode is None
        time.sleep(0.02)
    assert process.pid is not None
    os.kill(process.pid, number)
    assert join([process]) == [status]
    last = output.read_text().splitlines()[-1]
    assert last.startswith(f"stopped by {signal.Signals(number).name} after step")
    assert Path(last.rpartition(" ")[2]).is_file()


def test_ctrl_c_on_one_rank_saves_and_ends_both(tmp_path):
    status, output = run_two_ranks(tmp_path, "--set", "plan.int_step=2")
    assert status == [128 + signal.SIGINT] * 2
    assert "stopped by Ctrl-C after step 3 of 15; the same command goes on from" in output
    assert (tmp_path / "run" / "checkpoints" / "step_00000003.pt").is_file()


def test_torchrun_restarts_all_ranks_when_one_dies(tmp_path):
    """`--max-restarts`: without a name per start, gloo's ranks once looked for those of the previous start."""
    assert run_two_ranks(tmp_path, name="whole")[0] == [0, 0]
    argv, metrics = [str(arg) for arg in worker(tmp_path, "--set", "plan.seconds=0.1")], tmp_path / "run/metrics.jsonl"
    (agent,) = start_agents(argv, [tmp_path / "output"], restarts=1)
    while not (metrics.exists() and len(lines(tmp_path)) >= 5):
        assert agent.exitcode is None
        time.sleep(0.02)
    psutil.Process(agent.pid).children()[-1].kill()
    assert join([agent]) == [0]
    assert history(tmp_path) == history(tmp_path, "whole")
    assert_same_weights(weights(tmp_path), weights(tmp_path, name="whole"))


def test_a_killed_torchrun_takes_its_ranks_with_it_and_they_save_the_run(tmp_path):
    argv, metrics = [str(arg) for arg in worker(tmp_path, "--set", "plan.seconds=0.2")], tmp_path / "run/metrics.jsonl"
    (agent,) = start_agents(argv, [tmp_path / "output"])
    while not (metrics.exists() and len(lines(tmp_path)) >= 2):
        assert agent.exitcode is None
        time.sleep(0.02)
    ranks = psutil.Process(agent.pid).children()
    agent.kill()
    output, until = tmp_path / "output", time.monotonic() + 60
    while "stopped by SIGTERM" not in output.read_text() and time.monotonic() < until:
        time.sleep(0.02)
    for rank in filter(psutil.Process.is_running, ranks):
        rank.kill()  # forks of an agent wait for it to read their result; processes of torchrun do not
    stopped = output.read_text().splitlines()[-1]
    assert stopped.startswith("stopped by SIGTERM after step")
    assert Path(stopped.rpartition(" ")[2]).is_file()
    assert len(lines(tmp_path)) < STEPS


def interrupt(*numbers: signal.Signals) -> None:
    with StopSignal() as stop:
        for number in numbers:
            os.kill(os.getpid(), number)
    assert stop.number == numbers[0]


def test_a_second_ctrl_c_ends_the_process_at_once():
    assert join([start(interrupt, signal.SIGINT)]) == [0]
    assert join([start(interrupt, signal.SIGINT, signal.SIGINT)]) == [-signal.SIGINT]
    assert join([start(interrupt, signal.SIGINT, signal.SIGTERM)]) == [-signal.SIGTERM]
