"""Pooled features of prepared datasets, and of any videos."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from configs.errors import require
from configs.schema import Data
from dali_pipelines.datasets.dataset import Dataset
from dali_pipelines.store.storage import location
from dali_pipelines.tasks import Task
from trainers.engine.devices import choose_device
from trainers.engine.distributed import Ranks
from trainers.evaluation.features import extract
from trainers.evaluation.sources import open_videos, videos_of
from trainers.weights import Weights, read


@dataclass(frozen=True, eq=False)
class VideoFeatures:
    """Features of N videos, sorted by name."""

    names: list[str]
    """Video names, with their folders and without suffix."""
    values: np.ndarray
    """float32 (N, C), means over the views of a video; nan if it could not be read."""
    labels: np.ndarray
    """int64 (N,), from the dataset or the top-level folders; -1 for none."""
    class_names: tuple[str, ...]
    """Name of each class id."""
    unreadable: dict[str, str]
    """Name -> reason of the videos that could not be read."""
    settings: dict[str, object]
    """The checkpoint with its SHA-256, and the views."""


def extract_features(
    weights: str | Path | Weights,
    videos: Dataset | str | Path | Sequence[str | Path],
    *,
    clips: int | Literal["windows"] | None = None,
    crops: Literal["center", "three", "five", "ten"] | None = None,
    num_frames: int | None = None,
    stride: int | None = None,
    workers: int = 0,
    device: str = "auto",
    ranks: Ranks | None = None,
) -> VideoFeatures:
    """Extract pooled backbone features of videos.

    Args:
        weights: a run's work dir, a checkpoint's .pt, an export, or what `load_weights` returns.
        videos: a prepared dataset, its folder, or any video files and folders, which are read in place.
        clips: clips per video; by default those of a classifier's recipe, or 10.
        crops: crops per clip; by default those of a classifier's recipe, or the center.
        num_frames: frames per clip; by default as in training.
        stride: frame step within a clip; by default the one of training, or of several the one nearest to 2.
        workers: processes that read the files; 0 reads in this one. They are spawned, so a script needs
            `if __name__ == "__main__":`.
        device: auto, cpu or cuda.
        ranks: of a distributed run, instead of `device`. All ranks call this at the same point, with the same result.

    Raises:
        UserError: weights or videos are missing, damaged, or of another kind; no video can be read; or the network
            returns nan or infinity.
        ValueError: an option of the views is out of range.
    """
    ranks = ranks or Ranks(choose_device(device, 0)[0])
    if not isinstance(weights, Weights):
        path = weights
        weights = ranks.on_rank0(lambda: read(path))
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):  # leaves the caller's random numbers as they are
        backbone = weights.frozen_backbone().float()  # whatever the caller's default dtype is
    cfg = weights.views()
    clip, test = {"num_frames": num_frames, "stride": stride}, {"clips": clips, "crops": crops}
    cfg = replace(cfg, **_given(clip), test=replace(cfg.test, **_given(test)))
    _ = Task("evaluation", cfg).batch_schema  # UserError for clips too large, before videos are decoded for long

    if isinstance(videos, Dataset):
        found = videos_of(videos.index)
    else:
        sources = [videos] if isinstance(videos, str | Path) else videos
        found = open_videos([location(source) for source in sources], ranks, workers=workers)
    data = Data(root=str(found.index.root), workers=workers)
    (features,) = extract([backbone.to(ranks.device)], found.index, cfg, ranks, data)
    names, readable = sorted(found.labels), dict(zip(features.names, features.values, strict=True))
    missing = np.full(features.values.shape[1], np.nan, np.float32)
    return VideoFeatures(
        names=names,
        values=np.stack([readable.get(name, missing) for name in names]),
        labels=np.array([found.labels[name] for name in names], np.int64),
        class_names=found.index.class_names,
        unreadable=dict(sorted({**found.failed, **features.unreadable}.items())),
        settings={**weights.facts, "views": asdict(cfg), "clipfeed": version("clipfeed")},
    )


def _given(options: Mapping[str, int | str | None]) -> dict[str, Any]:
    """Return the options that are given, NumPy's integers as Python's."""
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        require(isinstance(value, Integral | str), name, value, "a whole number")
    return {name: int(value) if isinstance(value, Integral) else value for name, value in given.items()}
