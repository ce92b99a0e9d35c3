"""Pooled features of prepared datasets and of any videos, in one call."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from configs.errors import UserError
from configs.schema import Data
from dali_pipelines.datasets.discover import find_videos, read_labels
from dali_pipelines.prepare import Job, store_video
from dali_pipelines.store.index import INDEX_FILE, Index
from dali_pipelines.workers import Crashed, run_jobs
from nets.backbones import create
from trainers.devices import choose_device
from trainers.distributed import Ranks
from trainers.features import extract
from trainers.weights import Weights, read


@dataclass(frozen=True)
class VideoFeatures:
    """Features of N videos, sorted by name."""

    names: list[str]
    values: np.ndarray
    """float32 (N, C), means over the views of a video; nan where it could not be read."""
    labels: np.ndarray
    """int64 (N,), -1 for none; by the first level of folders, or those of the dataset."""
    class_names: tuple[str, ...]
    unreadable: dict[str, str]
    """Name -> reason of the videos that could not be read."""
    settings: dict[str, object]
    """The checkpoint with its SHA-256, and the views."""


@dataclass(frozen=True)
class Videos:
    """The videos in some sources."""

    index: Index
    """The readable ones."""
    labels: Mapping[str, int]
    """Name -> class of all of them, -1 for none."""
    failed: Mapping[str, str]
    """Name -> reason of the unreadable ones."""


def extract_features(
    weights: str | Path | Weights,
    videos: str | Path | Sequence[str | Path],
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
        weights: a run's work dir, a checkpoint's .pt, a .safetensors export, or what `load_weights` returns.
        videos: a prepared dataset, or any video files and folders of them, which are read where they are.
        clips: clips of a video; those of a classifier's recipe, or 10.
        crops: crops of a clip; those of a classifier's recipe, or the center.
        num_frames: frames of a clip; as in training.
        stride: frame step within a clip; as in training, the one nearest to 2.
        workers: processes that read the files. 0 reads in this one; more are spawned, so that a script needs
            `if __name__ == "__main__":`.
        device: auto, cpu or cuda.
        ranks: of a distributed run, instead of `device`. All ranks call this at the same point and get the same.

    Raises:
        UserError: weights or videos are missing, damaged, or of another kind; or no video can be read.
    """
    ranks = ranks or Ranks(choose_device(device, 0)[0])
    if not isinstance(weights, Weights):
        path = weights
        weights = ranks.on_rank0(lambda: read(path))
    backbone = create(weights.backbone)
    weights.load_backbone(backbone, weights.backbone)
    cfg = weights.views()
    clip, test = {"num_frames": num_frames, "stride": stride}, {"clips": clips, "crops": crops}
    cfg = replace(cfg, **_given(clip), test=replace(cfg.test, **_given(test)))

    sources = [videos] if isinstance(videos, str | Path) else videos
    found = open_videos([Path(source) for source in sources], ranks, workers=workers)
    data = Data(root=str(found.index.root), workers=workers)
    (features,) = extract([backbone.to(ranks.device).eval()], found.index, cfg, ranks, data)
    names = [*features.names, *found.failed]
    values = np.full((len(names), features.values.shape[1]), np.nan, np.float32)
    values[: len(features.values)] = features.values
    order = sorted(range(len(names)), key=names.__getitem__)
    return VideoFeatures(
        names=[names[row] for row in order],
        values=values[order],
        labels=np.array([found.labels[names[row]] for row in order], np.int64),
        class_names=found.index.class_names,
        unreadable=dict(sorted({**found.failed, **features.unreadable}.items())),
        settings={
            "checkpoint": str(weights.path),
            "sha256": weights.sha256,
            "backbone": weights.backbone,
            "step": weights.step,
            "views": asdict(cfg),
            "clipfeed": version("clipfeed"),
        },
    )


def _given(options: Mapping[str, int | str | None]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def open_videos(sources: Sequence[Path], ranks: Ranks, *, workers: int) -> Videos:
    """Open a prepared dataset, or videos that were never prepared; all ranks call this at the same point.

    UserError for a dataset together with anything else, and when no video can be read.
    """
    prepared = [source for source in sources if (source / INDEX_FILE).is_file()]
    if not prepared:
        return _index_in_place(sources, ranks, workers)
    if len(sources) > 1:
        raise UserError(f"{prepared[0]} is a prepared dataset: give it alone, each dataset has a file of features")
    index = Index.load(prepared[0])
    return Videos(index, dict(zip(index.names.texts(), index.labels.tolist(), strict=True)), {})


def _index_in_place(sources: Sequence[Path], ranks: Ranks, workers: int) -> Videos:
    """Index videos like `dali_pipelines.prepare --codec original`, without its files; ranks share the decoding."""
    found = find_videos(sources, outside=Path(os.devnull))  # nothing lies below it
    labels, class_names = read_labels("folders", found)
    jobs = [Job(name, path, path, "original") for name, path in found.items()][ranks.rank :: ranks.world_size]
    results = (
        run_jobs(store_video, jobs, workers=max(min(workers, len(jobs)), 1))
        if workers
        else ((job, store_video(job)) for job in jobs)
    )
    quiet = True if ranks.rank else None  # None: a bar where there is a terminal
    bar = tqdm(results, desc="decoding once", total=len(jobs), unit="video", leave=False, disable=quiet)
    local = {job.name: (None, str(result)) if isinstance(result, Crashed) else result for job, result in bar}
    gathered = {name: result for of_rank in ranks.gather_objects(local) for name, result in of_rank.items()}
    records = {name: record for name, (record, _) in gathered.items() if record is not None}
    failed = {name: reason for name, (record, reason) in gathered.items() if record is None}
    if not records:
        name = min(failed)
        raise UserError(f"none of the {len(failed)} videos can be read; {found[name]}: {failed[name]}")
    for note, count in Counter(note for record in records.values() for note in record.notes).items():
        if ranks.rank == 0:
            print(f"note: {count} videos {note}", flush=True)
    return Videos(Index.build(sources[0], records, labels=labels, class_names=class_names), labels, failed)
