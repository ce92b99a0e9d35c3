"""Features of a set of videos, saved next to the checkpoint so that later tests need not decode them again."""

import dataclasses
import hashlib
import json
import zipfile
import zlib
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from configs.errors import UserError, shown
from configs.schema import Data, Recognition
from configs.words import counted
from dali_pipelines.datasets.open import open_data
from dali_pipelines.store.files import replacing
from dali_pipelines.store.index import Index
from dali_pipelines.store.storage import is_url
from dali_pipelines.tasks.recognition import Config
from nets.backbones import Backbone
from trainers.engine.distributed import Ranks
from trainers.engine.identity import ROWS, dataset_facts
from trainers.evaluation.features import Features, extract
from trainers.evaluation.notes import clip_differences, notes_on
from trainers.evaluation.tokens import extract_tokens
from trainers.weights import Weights

RULE = "mean over the views of pooled features of length 1, 1"
"""What `features` computes, and a version. Changing either invalidates files that were saved before."""


@dataclass(frozen=True)
class Sets:
    """Training videos (the gallery) and test videos (the queries), with their features."""

    gallery_index: Index
    gallery: Features
    queries_index: Index
    queries: Features
    facts: dict[str, Any]
    """What was measured and with what, for the .json of a result."""


def features_of_both(weights: Weights, config: Recognition, ranks: Ranks, *, tokens: bool = False) -> Sets:
    """Extract features of the recipe's videos with the weights' backbone; save them next to the weights.

    `tokens` asks for those of `extract_tokens` instead, which are too large to save. UserError if a video is in both
    sets: it would find itself.
    """
    data, plan = config.data, config.plan
    datasets = [open_data(data, "train"), open_data(data, "test")]
    gallery, queries = (dataset.index for dataset in datasets)
    for index in (gallery, queries):  # which may be saved already, and are then not compared later
        ranks.require_same(partial(dataset_facts, index))
    shared = sorted({*gallery.names.texts()} & {*queries.names.texts()})
    if shared:
        raise UserError(
            f"{len(shared)} of {counted(len(queries), 'test video')} also in the training list, the first "
            f"{shown(shared[0])}: such a video finds itself; let data.list and data.test_list name different videos"
        )
    missing = [note for dataset in datasets for note in dataset.notes] + notes_on(gallery, queries)
    ranks.note([*clip_differences(config, weights.clip), *missing])
    backbone = weights.frozen_backbone().to(ranks.device)
    origin, folder = ranks.on_rank0(lambda: weights.facts), weights.path.parent / "features"
    random = replace(plan, test=replace(plan.test, clips="random"))
    plans = (random if plan.test.reference.gallery_random_clip else plan, plan)
    make = extract_tokens if tokens else partial(features, folder, str(origin["sha256"]))
    gallery_features, query_features = (
        make(backbone, index, cfg, ranks, data) for index, cfg in zip((gallery, queries), plans, strict=True)
    )
    facts = {
        **origin,
        "data": {name: getattr(data, name) for name in ("root", "list", "test_list", "split")},
        "plan": dataclasses.asdict(plan),
        "queries": len(query_features.names),
        "gallery": int(gallery_features.readable.sum()),
        "notes": missing,
        "unreadable": {"queries": query_features.unreadable, "gallery": gallery_features.unreadable},
    }
    return Sets(gallery, gallery_features, queries, query_features, facts)


def features(
    folder: Path, sha256: str, backbone: Backbone, index: Index, cfg: Config, ranks: Ranks, data: Data
) -> Features:
    """Extract `unit` features with a backbone in eval mode, or read them from `folder` if saved before.

    They are not saved if any video cannot be read, as its disk may be back next time. All ranks call this at the same
    point. `sha256` is that of the backbone's checkpoint. UserError if the network returns nan or infinity.
    """
    path = folder / f"{key(sha256, index, cfg)}.npz"
    values = ranks.on_rank0(lambda: _read(path, len(index)))
    if values is not None:
        return Features.of(index, values, {})
    (found,) = extract([backbone], index, cfg, ranks, data, unit=True)
    if not found.unreadable:
        ranks.on_rank0(lambda: _write(path, found.values))
    return found


def key(sha256: str, index: Index, cfg: Config) -> str:
    """Return a name that is unique to the checkpoint, the plan and the ordered list of videos.

    The original names its file after the dataset alone, so it takes one checkpoint's features for another's
    (specs/evaluation.md 9.5). `identity.ROWS` reveal a dataset that was prepared again.
    """
    root = str(index.root if is_url(index.root) else Path(index.root).resolve())
    rows = dataset_facts(index)
    facts = [RULE, sha256, dataclasses.asdict(cfg), root, *(rows[name] for name in ROWS)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _read(path: Path, videos: int) -> np.ndarray | None:
    """Read features, float32 (videos, C); None if the file is missing or damaged."""
    try:
        with np.load(path, allow_pickle=False) as file:
            values: np.ndarray = file["values"]
        if values.ndim != 2 or len(values) != videos:
            raise ValueError(f"it holds {values.shape} for {counted(videos, 'video')}")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        print(f"note: the saved features in {path} are damaged ({error}); they are made again", flush=True)
        return None
    print(f"note: the features of {counted(videos, 'video')} are those saved in {path}", flush=True)
    return values


def _write(path: Path, values: np.ndarray) -> None:
    """Save features atomically. If that fails, print a note instead."""
    try:
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, values=values)
    except OSError as error:
        videos = counted(len(values), "video")
        print(f"note: the features of {videos} cannot be saved in {path.parent}: {error.strerror}")
