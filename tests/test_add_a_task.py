"""A task is three files and nothing else. These are the three files of a small one: is the clip mirrored?"""

import json
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.runs import ROOT
from tests.helpers.stores import make_store

pytestmark = pytest.mark.slow

DATA = '''"""Toy: whether the clip is mirrored."""

from dataclasses import dataclass

import numpy as np

from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.program import consecutive_views
from dali_pipelines.plan.crops import scaled_crop
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.tasks import Annotations


@dataclass(frozen=True)
class Config:
    num_frames: int = 4
    size: int = 32


def plan(video, rng, cfg):
    mirrored = int(rng.integers(2))
    crop = scaled_crop(video, short_side=cfg.size, size=cfg.size, y=0.5, x=0.5, flip=bool(mirrored))
    return {
        "frames": random_clip(video.num_frames, rng, length=cfg.num_frames, strides=[2], jitter=False),
        **CropResize.arrays([crop]),
        "labels": np.array(mirrored, np.int64),
    }


def program(cfg):
    return consecutive_views([cfg.num_frames], CropResize(cfg.size))


def batch_schema(cfg):
    return {"clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32"), "labels": ((), "int64")}


def annotate(plan, cfg):
    return Annotations(["mirrored" if plan["labels"] else "not mirrored"])
'''

NET = '''"""Toy: two classes from the mean feature of the clip."""

from nets import backbones
from nets.classifier import Classifier, Config

METRIC = "accuracy"


def build(backbone, schema, cfg):
    return Classifier(backbones.create(backbone), 2, cfg)
'''

RECIPE = """\
task: toy
backbone: r3d_tiny
work_dir: runs/toy
data: {root: data, workers: 0, threads: 1}
train: {epochs: 1, global_batch: 4, log_every: 1}
"""

LOOK = """\
from dali_pipelines import __path__ as data, preview
from nets import __path__ as nets
from trainers.commands import pretrain
print("here:", *data, *nets)
pretrain.main(["--list-tasks"])
preview.main(["--config", "configs/toy/demo.yaml", "--out", "toy.png"])
"""

SEE = """\
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, toy
loader = ClipLoader(Index.load("data"), Task("toy", toy.Config()), batch_size=2)
print(loader.source.names[2:], loader.source.read(0, 1)[2].shape, *next(iter(loader))["clips"].shape)
"""

FILES = {"dali_pipelines/tasks/toy.py": DATA, "nets/tasks/toy.py": NET, "configs/toy/demo.yaml": RECIPE}


def test_three_files_are_a_task_that_trains_is_listed_and_can_be_looked_at(tmp_path):
    for package in ("configs", "dali_pipelines", "nets", "trainers"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
    make_store(tmp_path / "data", codec="h264", videos=8)

    def python(*args: str) -> str:
        return subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=100,
        ).stdout

    recipe = ["--config", "configs/toy/demo.yaml"]
    python("trainers/pretrain.py", *recipe, "--max-steps", "2", "--device", "cpu")
    steps = [json.loads(line) for line in (tmp_path / "runs/toy/metrics.jsonl").read_text().splitlines()]
    assert [step["step"] for step in steps] == [1, 2]
    assert all(step["accuracy"] in (0, 0.25, 0.5, 0.75, 1) for step in steps)
    printed = python("-c", LOOK)
    assert f"here: {tmp_path / 'dali_pipelines'} {tmp_path / 'nets'}\n" in printed  # the copy, not this checkout
    assert "toy\n  toy/demo  r3d_tiny  data\n" in printed
    assert (tmp_path / "toy.png").stat().st_size > 1000
    # The host cuts out what the task shows.
    assert python("-c", SEE) == "('media', 'labels') (4, 32, 32, 3) 2 3 4 32 32\n"
