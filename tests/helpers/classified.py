"""A classifier that guesses, its test videos, and runs of `trainers/test.py` on them."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from dali_pipelines.store.index import Index
from dali_pipelines.tasks.recognition import Config, Test
from nets.backbones import create
from nets.classifier import Classifier
from nets.classifier import Config as NetConfig
from tests.helpers.scores import slow_scores
from trainers.commands import finetune
from trainers.commands import test as testing
from trainers.engine import checkpoint

CLASSES = ("walk", "jump", "run")
CLIPS = Config(num_frames=4, size=32, short_sides=(32,), test=Test(clips=3, short_side=40))
RECIPE = """
task: recognition
backbone: r3d_tiny
work_dir: {folder}/run
data: {{root: {folder}/data, test_list: test.txt, workers: 0, threads: 1}}
plan: {{num_frames: 4, size: 32, short_sides: [32], test: {{clips: 3, short_side: 40}}}}
validation: {{share: 0.0}}
train: {{epochs: 1, global_batch: 4, loggers: []}}
"""


def train_guesser(store: Index, folder: Path) -> Path:
    """Write 11 test videos of three classes to folder/data and a classifier that guesses all three to folder/run.

    Its last layer is random; the bias subtracts the mean scores of these videos. Returns `folder`.
    """
    shutil.copytree(store.root, folder / "data")
    index = replace(store.with_columns(labels=np.arange(12) % 3, class_names=CLASSES), root=folder / "data")
    index.save()
    (folder / "data" / "test.txt").write_text("".join(f"{name}\n" for name in list(index.names.texts())[1:]))
    (folder / "recipe.yaml").write_text(RECIPE.format(folder=folder))
    finetune.main(f"--config {folder}/recipe.yaml --mode scratch --max-steps 1 --device cpu".split())
    (path,) = (folder / "run" / "checkpoints").glob("*.pt")
    content = checkpoint.read(path)
    net = Classifier(create("r3d_tiny"), 3, NetConfig()).eval()
    with torch.no_grad():
        net.load_state_dict(
            {**content["model"], "linear.weight": 4 * torch.randn(3, 64, generator=torch.Generator().manual_seed(1))}
        )
        net.linear.bias.sub_(torch.from_numpy(slow_scores(net, index, CLIPS).mean(0)).float())
    content["model"] = net.state_dict()
    checkpoint.write(path, content)
    return folder


def video_test(*args: object) -> None:
    testing.main(["--protocol", "video", "--device", "cpu", *map(str, args)])


def saved(out: Path) -> SimpleNamespace:
    with np.load(out / "predictions.npz") as file:
        return SimpleNamespace(**file)


def with_classes(trained: Path, root: Path, names: tuple[str, ...], labels: np.ndarray) -> Path:
    """Copy the dataset to `root` with other classes."""
    shutil.copytree(trained / "data", root)
    Index.load(root).with_columns(class_names=names, labels=labels).save()
    return root


def changed_checkpoint(trained: Path, folder: Path, **changes: object) -> Path:
    """Write the checkpoint with `changes`; return its path."""
    (path,) = (trained / "run" / "checkpoints").glob("*.pt")
    checkpoint.write(folder / "other.pt", {**checkpoint.read(path), **changes})
    return folder / "other.pt"
