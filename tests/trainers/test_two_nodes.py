"""Two nodes: two torchrun agents on this machine, with two ranks each."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.helpers import loop_worker
from tests.helpers.loop import STEPS, lines, run, run_two_ranks, write_recipe
from tests.helpers.processes import join, run_command, start
from tests.helpers.ranks import start_agents

pytestmark = pytest.mark.slow


def two_nodes(folder: Path, *args: str) -> tuple[list[int | None], list[str]]:
    """Train on two nodes in folder/run; return the agents' exit statuses and what each node's ranks printed."""
    argv = [loop_worker.__file__, "--config", str(write_recipe(folder, "run")), "--device", "cpu", *args]
    outputs = [folder / f"node{node}.out" for node in range(2)]
    statuses = join(start_agents(argv, outputs))
    printed = [output.read_text() for output in outputs]
    print(*printed)  # pytest shows it on failure
    return statuses, printed


def test_two_nodes_match_one_process_stop_together_and_resume(tmp_path):
    plain = ("--set", "net.plain=true")
    # SIGTERM reaches only one rank, the last of the node without rank 0.
    statuses, printed = two_nodes(tmp_path, *plain, "--set", "plan.term_step=9")
    assert statuses == [0, 0]
    assert sum(text.count("after step 10 of 15") for text in printed) == 1  # only rank 0 prints it
    assert run_two_ranks(tmp_path, *plain)[0] == [0, 0]
    run(tmp_path, *plain, name="one")
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, STEPS + 1))
    for ours, theirs in zip(lines(tmp_path), lines(tmp_path, "one"), strict=True):
        for key in ("loss", "target", "grad_norm", "lr"):
            assert ours[key] == pytest.approx(theirs[key], rel=1e-4)


def start_ignoring_sigusr1(argv: list[str], output: Path) -> None:
    """Run a command with SIGUSR1 ignored, as under the torchrun of docs/examples/pretrain.sbatch."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    run_command(argv, output)


def test_a_run_handles_a_sigusr1_its_launcher_ignores(tmp_path):
    options = ("--device", "cpu", "--set", "plan.seconds=0.2")
    argv = [loop_worker.__file__, "--config", str(write_recipe(tmp_path, "run")), *options]
    process = start(start_ignoring_sigusr1, argv, tmp_path / "output")
    while not (tmp_path / "run" / "metrics.jsonl").exists() or not lines(tmp_path):
        assert process.exitcode is None
        time.sleep(0.02)
    assert process.pid
    os.kill(process.pid, signal.SIGUSR1)
    join([process])
    assert "stopped by SIGUSR1 after step" in (tmp_path / "output").read_text()
