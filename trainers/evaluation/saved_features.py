"""Features of a set of videos, saved beside the checkpoint so that another test need not decode the videos again."""

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
from dali_pipelines.datasets.open import open_data
from dali_pipelines.store.files import replacing
from dali_pipelines.store.index import Index
from dali_pipelines.store.storage import is_url
from dali_pipelines.tasks.recognition import Config
from nets.backbones import Backbone
from trainers.engine.distributed import Ranks
from trainers.engine.identity import dataset_facts
from trainers.evaluation.features import Features, extract
from trainers.evaluation.notes import clip_differences, notes_on
from trainers.evaluation.tokens import extract_tokens
from trainers.evaluation.videos import require_finite
from trainers.weights import Weights

RULE = "mean over the views of pooled features of length 1, 1"
"""What `features` computes. With another text or number, files that were written before are not read."""


@dataclass(frozen=True)
class Sets:
    """Training videos, the gallery, and test videos, the queries, with their features."""

    gallery_index: Index
    gallery: Features
    queries_index: Index
    queries: Features
    facts: dict[str, Any]
    """What was measured, and with what: for the .json of a result."""


def features_of_both(weights: Weights, config: Recognition, ranks: Ranks, *, tokens: bool = False) -> Sets:
    """Extract the features of the recipe's videos by the backbone of the weights; save them beside the weights.

    With `tokens`, they are those of `extract_tokens`, which are too large to be saved. UserError when a video is in
    both sets: it would find itself.
    """
    data, plan = config.data, config.plan
    datasets = [open_data(data, "train"), open_data(data, "test")]
    gallery, queries = (dataset.index for dataset in datasets)
    for index in (gallery, queries):
        ranks.require_same(partial(dataset_facts, index))
    shared = sorted({*gallery.names.texts()} & {*queries.names.texts()})
    if shared:
        raise UserError(
            f"{len(shared)} of {len(queries)} test videos are training videos too, the first {shown(shared[0])}: such "
            "a video finds itself; let data.list and data.test_list name different videos"
        )
    missing = [note for dataset in datasets for note in dataset.notes] + notes_on(gallery, queries)
    ranks.note([*clip_differences(config, weights.clip), *missing])
    backbone = weights.frozen_backbone().to(ranks.device)
    origin, folder = ranks.on_rank0(lambda: weights.facts), weights.path.parent / "features"
    random = replace(plan, test=replace(plan.test, clips="random"))
    plans = (random if plan.test.reference.gallery_random_clip else plan, plan)
    make = _finite_tokens if tokens else partial(features, folder, str(origin["sha256"]))
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
    """Extract `unit` features of a backbone in eval mode; read them from `folder` where they were saved before.

    They are not saved if videos cannot be read: the disk may be back the next time. All ranks call this at the same
    point. UserError when the network returns nan or infinity.

    Args:
        sha256: of the checkpoint that holds the backbone's weights.
    """
    path = folder / f"{key(sha256, index, cfg)}.npz"
    values = ranks.on_rank0(lambda: _read(path, len(index)))
    if values is not None:
        return Features(list(index.names.texts()), index.labels, values, {})
    found = _finite(*extract([backbone], index, cfg, ranks, data, unit=True))
    if not found.unreadable:
        ranks.on_rank0(lambda: _write(path, found.values))
    return found


def _finite_tokens(backbone: Backbone, index: Index, cfg: Config, ranks: Ranks, data: Data) -> Features:
    return _finite(extract_tokens(backbone, index, cfg, ranks, data))


def _finite(found: Features) -> Features:
    """Return features. UserError when those of a video that could be read are not finite."""
    read = np.array([name not in found.unreadable for name in found.names])
    require_finite("features", found.names, found.values, read)
    return found


def key(sha256: str, index: Index, cfg: Config) -> str:
    """Return a name that is unique to the checkpoint, the plan and the list of videos, in its order.

    The original names its file by the dataset alone, and so takes the features of one checkpoint for those of another
    (specs/evaluation.md 9.5). The videos' lengths and the places of their fragments show that a dataset was prepared
    anew.
    """
    root = str(index.root if is_url(index.root) else Path(index.root).resolve())
    facts = [RULE, sha256, dataclasses.asdict(cfg), root, index.names.texts()]
    digest = hashlib.sha256(json.dumps(facts).encode())
    digest.update(index.num_frames.tobytes())
    fragments = index.fragments
    for row in range(len(index)):
        digest.update(fragments[row].tobytes())
    return digest.hexdigest()[:32]


def _read(path: Path, videos: int) -> np.ndarray | None:
    """Read features, float32 (videos, C); None where there is no file, or a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            values: np.ndarray = file["values"]
        if values.ndim != 2 or len(values) != videos:
            raise ValueError(f"it holds {values.shape} for {videos} videos")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        print(f"note: the saved features in {path} are damaged ({error}); they are made again", flush=True)
        return None
    print(f"note: the features of {videos} videos are those saved in {path}", flush=True)
    return values


def _write(path: Path, values: np.ndarray) -> None:
    """Save features, completely or not at all. In a folder that is not writable they are only noted as not saved."""
    try:
        with replacing(path) as part, part.open("wb") as file:
            np.savez(file, allow_pickle=False, values=values)
    except OSError as error:
        print(f"note: the features of {len(values)} videos cannot be saved in {path.parent}: {error.strerror}")
