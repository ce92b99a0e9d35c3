"""The demo recipe of every task with the real command: alone, on two ranks, and interrupted."""

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from nets.tasks import net_module, pretext_tasks
from tests.helpers.ranks import two_ranks
from tests.helpers.runs import PRETRAIN, ROOT
from trainers.commands import pretrain

pytestmark = pytest.mark.slow

STEPS = 2


def arguments(task: str, demo: Path, work_dir: Path, *, batch: int) -> list[str]:
    options = ["--data-dir", demo, "--work-dir", work_dir, "--max-steps", STEPS, "--device", "cpu"]
    train = "train={log_every: 1, checkpoint_every: 1, loggers: []}"
    for change in (train, f"train.global_batch={batch}", "schedule={kind: constant, milestones: []}"):
        options += ["--set", change]
    return ["--config", *map(str, [ROOT / "configs" / task / "demo.yaml", *options])]


def history(work_dir: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (work_dir / "metrics.jsonl").read_text().splitlines()]


def model(work_dir: Path) -> dict[str, torch.Tensor]:
    return torch.load(work_dir / "checkpoints" / f"step_{STEPS:08d}.pt", weights_only=True)["model"]


def test_no_task_has_the_name_of_a_row_of_random_weights():
    """In what `probe.py` and the benches write, such a task would take the row's place."""
    assert not [task for task in pretext_tasks() if task == "random" or task.startswith("random_")]


@pytest.mark.parametrize("task", pretext_tasks())
def test_resume_is_bit_identical_and_logs_the_metric(task, demo_set, tmp_path):
    """The other run is what a kill after the first step leaves, resumed."""
    batch = 4 if task == "vjepa" else 2  # losses between videos need two; V-JEPA's chance is estimated from them
    pretrain.main(arguments(task, demo_set, tmp_path / "whole", batch=batch))
    shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    (tmp_path / "parts" / "checkpoints" / f"step_{STEPS:08d}.pt").unlink()
    pretrain.main(arguments(task, demo_set, tmp_path / "parts", batch=batch))
    whole, parts = history(tmp_path / "whole"), history(tmp_path / "parts")
    assert [row["loss"] for row in whole] == [row["loss"] for row in parts]
    assert whole[-1]["time"] != parts[-1]["time"]  # the step was made again
    assert all(math.isfinite(row[net_module(task).METRIC]) and 0 < row["chance"] < 1 for row in whole)
    ours, theirs = model(tmp_path / "whole"), model(tmp_path / "parts")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


@pytest.mark.parametrize("task", pretext_tasks())
def test_two_ranks_train(task, demo_set, tmp_path):
    assert two_ranks(PRETRAIN, tmp_path, *arguments(task, demo_set, tmp_path / "run", batch=4))[0] == [0, 0]
    assert [row["step"] for row in history(tmp_path / "run")] == [1, STEPS]
    assert all(math.isfinite(row["loss"]) for row in history(tmp_path / "run"))
