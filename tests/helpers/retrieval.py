"""Gallery and query videos for retrieval, and an untrained network."""

from collections.abc import Sequence
from pathlib import Path

import torch

from configs.load import dump, parse
from configs.schema import Recognition
from nets.backbones import create
from trainers.engine import checkpoint
from trainers.weights import Weights, read

TRAIN = ["class0/video00", "class1/video01", "class0/video02", "class1/video03", "class0/video04", "class1/video05"]
TEST = ["class1/video11", "class0/video08", "class1/video07", "class0/video06"]
RECIPE = """
task: recognition
backbone: r3d_tiny
work_dir: nowhere
data: {{root: {root}, list: {train}, test_list: {test}, workers: 0, threads: 1}}
plan: {{num_frames: 4, size: 32, test: {{clips: 2, short_side: 32}}}}
train: {{epochs: 1, global_batch: 2, loggers: []}}
"""


def recipe(folder: Path, root: Path, train: Sequence[str] = TRAIN, test: Sequence[str] = TEST) -> Path:
    """Write a recipe with these lists of videos to `folder`."""
    lists = {"train": train, "test": test}
    for name, videos in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{video}\n" for video in videos))
    path = folder / "recipe.yaml"
    path.write_text(RECIPE.format(root=root, **{name: folder / f"{name}.txt" for name in lists}))
    return path


def load_recipe(path: Path) -> Recognition:
    config = parse(path.read_text(), source=str(path))
    assert isinstance(config, Recognition)
    return config


def random_weights(folder: Path, config: Recognition, seed: int = 0) -> Weights:
    """Write a checkpoint of an untrained network and read it back."""
    torch.manual_seed(seed)
    state = {f"backbone.{key}": value for key, value in create("r3d_tiny").state_dict().items()}
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.write(folder / "random.pt", {"config": dump(config), "model": state, "step": 0})
    return read(folder / "random.pt")
