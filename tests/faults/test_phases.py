"""One of two ranks is killed or raises at each phase of a step: the other reports it, and the run can resume."""

import random
import signal
from pathlib import Path

import pytest

from bench.faults.same import compare
from tests.helpers import failing_worker, finetuning
from tests.helpers.failing_worker import OF_A_STEP, OF_RANK_0, OF_VALIDATION
from tests.helpers.loop import write_recipe
from tests.helpers.ranks import two_ranks
from trainers.engine.checkpoint import list_steps

pytestmark = pytest.mark.slow

NEWEST = {"renamed": [-1, 0], "delete": [-2, -1, 0]}
"""Phase that fails -> the newest checkpoints left, relative to the failing step; [-2, -1] for other phases."""


def attempt(
    recipe: Path, program: str, phase: str = "none", rank: int = 0, step: int = 0, how: str = "none"
) -> list[str]:
    """Start two ranks, check that both end with the expected status, and return what each printed."""
    options = ["--device", "cpu", "--set", "train.checkpoint_every=1", "--set", "train.loggers=[csv]"]
    options += ["--mode", "scratch", "--set", "train.epochs=1", "--set", "train.global_batch=2"] * (
        program == "finetune"
    )
    argv = [program, phase, rank, step, how, "--config", recipe, *options]
    statuses, _ = two_ranks(Path(failing_worker.__file__), recipe.parent, *argv)
    expected = [0, 0] if phase == "none" else [2, 2]  # as for bad input: one line, no traceback
    if phase != "none":
        expected[rank] = {"kill": -signal.SIGKILL, "raise": 1}[how]
    assert statuses == expected, phase
    return [recipe.with_name(f"rank{number}.out").read_text() for number in range(2)]


def fail(recipe: Path, program: str, phase: str, rank: int, step: int, how: str) -> None:
    """Let one rank fail, and check that the other reports it."""
    printed = attempt(recipe, program, phase, rank, step, how)
    before, _, error = printed[1 - rank].partition("error: ")
    assert "another rank has ended or answers no more" in error, phase
    assert "Traceback" not in before + error, phase
    assert how == "kill" or f"RuntimeError: failed at {phase}" in printed[rank]


def test_a_rank_failing_in_any_phase_costs_only_that_step(tmp_path):
    """Each restart fails one step later than the previous one."""
    attempt(write_recipe(tmp_path, "whole"), "fake")
    recipe, folder = write_recipe(tmp_path, "run"), tmp_path / "run" / "checkpoints"
    killed = [(phase, "kill") for phase in (*OF_A_STEP, *OF_RANK_0)]
    for step, (phase, how) in enumerate([*killed, ("backward", "raise"), ("rename", "raise")], start=2):
        rank = 0 if phase in OF_RANK_0 else random.Random(phase).randrange(2)
        fail(recipe, "fake", phase, rank, step, how)
        newest = [step + distance for distance in NEWEST.get(phase, [-2, -1]) if step + distance]
        assert list_steps(folder)[-len(newest) :] == newest, phase
    attempt(recipe, "fake")
    assert compare(tmp_path / "run", tmp_path / "whole") == ([], 0)


def test_a_rank_killed_in_validation_costs_only_that_validation(vp9_store, tmp_path):
    root = finetuning.labeled(vp9_store, tmp_path)
    attempt(finetuning.write_recipe(tmp_path, root, "whole"), "finetune")
    recipe = finetuning.write_recipe(tmp_path, root, "run")
    for phase, rank in zip(OF_VALIDATION, (1, 0), strict=True):
        fail(recipe, "finetune", phase, rank, 3, "kill")
        assert list_steps(tmp_path / "run" / "checkpoints") == [1, 2, 3], phase
    attempt(recipe, "finetune")
    assert compare(tmp_path / "run", tmp_path / "whole") == ([], 0)
