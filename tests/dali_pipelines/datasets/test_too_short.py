"""Videos too short for a task are left out and named at the start, and every row keeps its video."""

import csv
from pathlib import Path
from typing import Any

import pytest
import torch

from configs.errors import UserError
from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task, evaluation, recognition, vcop
from tests.helpers.loop import lines
from trainers.commands import pretrain

SHORT = ["class0/video00", "class0/video02", "class0/video04", "class1/video01", "class1/video03"]
"""The videos of `vp9_store` with fewer than 45 frames: video n has 40 + n."""
PLAN: dict[str, Any] = {"num_frames": 43, "size": 32, "short_sides": [32]}  # three clips, distinct starts: 45 frames
RECIPE = """
task: vcop
backbone: r3d_tiny
work_dir: {work_dir}
data: {{root: {root}, workers: 0, threads: 1}}
plan: {plan}
train: {{epochs: 4, global_batch: 4, log_every: 1}}
"""


def task(**changes: int) -> Task:
    return Task("vcop", vcop.Config(**(PLAN | changes)))


def train(folder: Path, root: Path, *args: str) -> None:
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(work_dir=folder / "run", root=root, plan=PLAN))
    pretrain.main(["--config", str(recipe), "--device", "cpu", *args])


def test_too_short_videos_are_counted_and_listed_in_the_work_dir(vp9_store, tmp_path, caplog):
    train(tmp_path, vp9_store.root, "--max-steps", "2")
    (message,) = caplog.messages
    assert message == f"5 of 12 videos too short: vcop needs 45 frames ({', '.join(SHORT[:3])} and 2 more)"
    table = list(csv.reader((tmp_path / "run" / "too_short.csv").open(newline="")))
    assert table[0] == ["name", "reason"]
    assert [name for name, _ in table[1:]] == SHORT
    assert table[1][1] == "it has 40 frames, vcop needs 45"
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]


def test_no_warning_if_all_videos_are_long_enough(vp9_store, tmp_path, caplog):
    train(tmp_path, vp9_store.root, "--max-steps", "1", "--set", "plan.num_frames=8")
    assert caplog.messages == []
    assert not (tmp_path / "run" / "too_short.csv").exists()


def test_batch_rows_match_the_videos_shown(vp9_store, monkeypatch):
    clips = Task("evaluation", recognition.Config(num_frames=4, size=32, test=recognition.Test(clips=1, short_side=32)))
    (whole,) = ClipLoader(vp9_store, clips, batch_size=12, shuffle=False)
    monkeypatch.setattr(evaluation, "min_frames", lambda cfg: 45, raising=False)
    loader = ClipLoader(vp9_store, clips, batch_size=7, shuffle=False)
    (batch,) = loader
    assert list(loader.too_short) == SHORT
    assert batch["index"].tolist() == list(range(7))
    names = list(vp9_store.names.texts())
    rows = [names.index(loader.index.info(row).name) for row in range(7)]
    assert [names[row] for row in rows] == [name for name in names if name not in SHORT]
    assert torch.equal(batch["clips"], whole["clips"][rows])
    assert torch.equal(batch["labels"], whole["labels"][rows])


def test_all_videos_too_short_names_both_lengths(vp9_store):
    with pytest.raises(UserError, match=r"has the 53 frames that vcop needs, the longest has 51: choose a shorter"):
        ClipLoader(vp9_store, task(num_frames=51), batch_size=2)


def test_too_few_long_videos_for_a_batch_are_refused(vp9_store):
    with pytest.raises(UserError, match=r"has 7 videos, fewer than one global batch of 8"):
        ClipLoader(vp9_store, task(), batch_size=8)
