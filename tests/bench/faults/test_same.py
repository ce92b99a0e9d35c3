"""bench.faults.same finds any difference between two runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from bench.faults.same import compare, same
from tests.helpers.loop import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    run(folder, "--set", "train.loggers=[tensorboard, csv]")
    return folder / "run"


@pytest.fixture
def other(whole, tmp_path) -> Path:
    return shutil.copytree(whole, tmp_path / "run")


def test_a_resumed_run_compares_equal(whole, tmp_path):
    run(tmp_path, "--set", "train.loggers=[tensorboard, csv]", "--max-steps", "6")
    run(tmp_path, "--set", "train.loggers=[tensorboard, csv]")
    assert compare(tmp_path / "run", whole) == ([], 0)


def change_lines(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    path.write_text("".join(change(path.read_text().splitlines(keepends=True))))


def change_loss(lines: list[str]) -> list[str]:
    line = json.loads(lines[3])
    return [*lines[:3], json.dumps(line | {"loss": line["loss"] + 1e-15}) + "\n", *lines[4:]]


def write_scalar(folder: Path, step: int) -> None:
    with SummaryWriter(str(folder / "tensorboard"), filename_suffix=".zzz") as board:
        board.add_scalar("train/loss", 1.0, step)


def change_checkpoint(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "checkpoints" / "step_00000015.pt"
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def flip_last_bit(content: dict) -> None:
    bits = content["optimizer"]["state"][0]["momentum_buffer"].view(torch.int32)
    bits[(0,) * bits.ndim] ^= 1


@pytest.mark.parametrize(
    ("damage", "found", "steps"),
    [
        (lambda run: change_lines(run / "metrics.jsonl", lambda lines: lines[:5] + lines[6:]), "metrics.jsonl", 1),
        (lambda run: change_lines(run / "train.csv", lambda lines: lines + lines[-2:]), "train.csv", 2),
        (lambda run: change_lines(run / "metrics.jsonl", change_loss), "metrics.jsonl", 0),
        (lambda run: (run / "unreadable.csv").write_text("name,reason\na,cut off\n"), "unreadable.csv", 1),
        (lambda run: write_scalar(run, 16), "TensorBoard's train/loss", 1),
        (lambda run: (run / "checkpoints" / "step_00000012.pt").unlink(), "checkpoints ['step_00000015.pt'], not", 0),
        (lambda run: (run / "checkpoints" / ".clipfeed-1.part").touch(), "checkpoints ['.clipfeed-1.part', ", 0),
        (lambda run: change_checkpoint(run, flip_last_bit), "step_00000015.pt: optimizer", 0),
        (lambda run: change_checkpoint(run, lambda content: content.pop("unreadable")), "step_00000015.pt: unread", 0),
        (lambda run: change_lines(run / "config.yaml", lambda lines: lines[1:]), "is of another run than config", 0),
    ],
)
def test_any_difference_between_runs_is_found(whole, other, damage, found, steps):
    damage(other)
    differences, lost = compare(other, whole)
    assert any(found in difference for difference in differences), differences
    assert lost == steps


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"a": [1, {"b": torch.zeros(2)}]}, {"a": [1, {"b": torch.tensor([0.0, 1.0])}]}),
        ({"a": torch.zeros(2)}, {"a": torch.zeros(2, dtype=torch.float64)}),
        ({"a": [1]}, {"a": [1, 2]}),
        ({"a": 1}, {"b": 1}),
        ({"a": "x"}, {"a": "y"}),
    ],
)
def test_trees_differ_in_any_leaf(ours, theirs):
    assert same(ours, ours)
    assert not same(ours, theirs)
    assert not same(theirs, ours)
