"""The public face of clipfeed: clips for training, backbones, weights and features.

`ClipLoader`, `open_dataset` and `load_task` feed clips; `create_backbone`, `load_weights` and `extract_features` use
what was trained. README.md shows them at work. As a command, `clipfeed` or `python -m clipfeed`, it is all commands.
"""

from pathlib import Path

from configs.command import main
from configs.load import load
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task
from nets.backbones import create as create_backbone
from trainers.evaluation.video_features import extract_features
from trainers.weights import read as load_weights

__all__ = ["ClipLoader", "create_backbone", "extract_features", "load_task", "load_weights", "open_dataset"]


def load_task(recipe: str | Path, *overrides: str) -> Task:
    """Load the task of a recipe, with its settings.

    Args:
        recipe: a YAML file, or the name of one below configs/, such as "ctp/r3d18_ucf101".
        overrides: changes such as "plan.size=96".

    Raises:
        UserError: there is no such recipe, or a key or value of it is wrong.
    """
    config = load(recipe, overrides)
    return Task(config.task, config.plan)


if __name__ == "__main__":
    main()
