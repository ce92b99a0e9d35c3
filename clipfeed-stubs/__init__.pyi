"""The types of clipfeed.py: type checkers take those of a single module only from such a folder (PEP 561)."""

from pathlib import Path

from dali_pipelines.datasets.open import open_dataset as open_dataset
from dali_pipelines.loader import ClipLoader as ClipLoader
from dali_pipelines.tasks import Task
from nets.backbones import create as create_backbone
from trainers.evaluation.video_features import extract_features as extract_features
from trainers.weights import read as load_weights

__all__ = ["ClipLoader", "create_backbone", "extract_features", "load_task", "load_weights", "open_dataset"]

def load_task(recipe: str | Path, *overrides: str) -> Task: ...
