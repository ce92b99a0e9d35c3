"""Run `trainers/finetune.py` on a small dataset in this process, and read its outputs."""

import json
import shutil
from pathlib import Path

import torch

from dali_pipelines.store.index import Index
from tests.helpers.runs import write_recipe as write_pretraining
from trainers.commands import finetune, pretrain

RECIPE = """
task: recognition
backbone: r3d_tiny
work_dir: {work_dir}
data: {{root: {root}, list: train.txt, test_list: test.txt, workers: 0, threads: 1}}
plan: {{num_frames: 4, size: 32, short_sides: [32, 40], test: {{short_side: 36}}}}
net: {{dropout: 0.2}}
optim: {{lr: 0.1, lr_factors: [[backbone, 0.5]]}}
schedule: {{kind: plateau, patience: 0, gamma: 0.5}}
train: {{epochs: 4, global_batch: 3, checkpoint_every: 1, keep: 20, log_every: 1, loggers: []}}
validation: {{share: 0.4}}
"""


def labeled(store: Index, folder: Path) -> Path:
    """Copy the dataset and add lists: ten training videos, five of each class, and two test videos."""
    root = shutil.copytree(store.root, folder / "store")
    names = [f"class{number % 2}/video{number:02d}.avi {number % 2 + 1}\n" for number in range(12)]
    (root / "train.txt").write_text("".join(names[:10]))
    (root / "test.txt").write_text("".join(names[10:]))
    return root


def pretrain_one_step(root: Path, folder: Path) -> Path:
    """Pretrain for one step; return folder/run."""
    folder.mkdir()
    pretrain.main(["--config", str(write_pretraining(folder, root)), "--device", "cpu", "--max-steps", "1"])
    return folder / "run"


def write_recipe(folder: Path, root: Path, name: str) -> Path:
    recipe = folder / f"{name}.yaml"
    recipe.write_text(RECIPE.format(work_dir=folder / name, root=root))
    return recipe


def run_recipe(recipe: Path, *args: object) -> None:
    """Run `finetune.py` with these arguments."""
    finetune.main(["--config", str(recipe), "--device", "cpu", *map(str, args)])


def train(folder: Path, root: Path, *args: object, name: str = "run") -> Path:
    """Run `finetune.py` with these arguments; return folder/name."""
    run_recipe(write_recipe(folder, root, name), *args)
    return folder / name


def validations(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "validation.jsonl").read_text().splitlines()]


def read(path: Path) -> dict:
    return torch.load(path, weights_only=True)
