"""What must be the same in all parts of a run and on all ranks, and the errors where it is not."""

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import nvidia.dali
import yaml
from numpy.typing import NDArray

from configs.errors import UserError
from configs.load import dump
from configs.schema import Config
from dali_pipelines.store.index import Index
from dali_pipelines.store.ragged import Ragged

OTHER_VIDEOS = {
    "videos.names": "as many videos under other names, or in another order",
    "videos.frames": "videos of the same names, some with another number of frames",
    "videos.labels": "the same videos, some of another class, or under other names of classes",
}
"""What it means when a digest of `video_digests` differs. Older checkpoints have none."""


def video_digests(index: Index) -> dict[str, str]:
    """Return digests of the names, in order, and of the numbers of frames: they define what a row is."""
    names = json.dumps(index.names.texts()).encode()
    frames = json.dumps(index.num_frames.tolist()).encode()
    described = {"videos.names": names, "videos.frames": frames}
    return {key: hashlib.sha256(what).hexdigest()[:16] for key, what in described.items()}


def label_digest(index: Index) -> dict[str, object]:
    """Return a digest of the labels and the names of classes, which must not change in finetuning."""
    return {"videos.labels": _digest(index.labels, Ragged.of_texts(index.class_names))}


def dataset_facts(index: Index) -> dict[str, object]:
    """Return what ranks must agree on: the number of videos, and digests of all that the index says of them."""
    return {"videos": len(index), **video_digests(index), **more_digests(index)}


def more_digests(index: Index) -> dict[str, object]:
    """Return digests of what `video_digests` leaves out. These may change in pretraining, but not from rank to rank."""
    return {
        **label_digest(index),
        "videos.sizes": _digest(index.sizes_WH, index.fps),
        "videos.places": _digest(index.init_sizes, index.sources, index.fragments),
    }


def options(config: Config) -> dict[str, object]:
    """Return the options of a recipe by their dotted keys."""
    return flat(yaml.safe_load(dump(config)))


def versions() -> dict[str, str]:
    """Return the versions of what makes samples and steps."""
    found = {f"version of {name}": version(name) for name in ("clipfeed", "torch", "torchvision", "av", "numpy")}
    return found | {"version of DALI": nvidia.dali.__version__}


def _digest(*columns: NDArray[Any] | Ragged) -> str:
    """Return a digest of columns, row by row, whatever way the table stores them."""
    sha = hashlib.sha256()
    for column in columns:
        if isinstance(column, Ragged):
            sha.update(column.lengths.tobytes())
            for row in range(len(column)):
                sha.update(column[row].tobytes())
        else:
            sha.update(np.ascontiguousarray(column).tobytes())
    return sha.hexdigest()[:16]


def check(content: Mapping[str, Any], identity: Mapping[str, object]) -> list[str]:
    """Return warnings, as sentences, of what an older checkpoint does not record.

    Raises:
        UserError: it belongs to another run, one whose data order or tensors do not fit this one.
    """
    saved, step = content["identity"], content["step"]
    for key, ours in identity.items():
        theirs = saved.get(key)
        if key == "pretrained" and theirs != ours:
            raise UserError(
                f"the run began with {_weights(saved)}, and --pretrained now means {_weights(identity)}; give the same "
                "to go on, or pass another --work-dir to start a new run"
            )
        if key in OTHER_VIDEOS and theirs not in (None, ours):
            data = yaml.safe_load(content["config"])["data"]
            raise UserError(
                f"the checkpoint of step {step} was trained on {OTHER_VIDEOS[key]}: from data.root {data['root']}, "
                f"data.list {data['list']}. Give it those videos to go on, or pass another --work-dir to start a new "
                "run; clipfeed finetune --pretrained takes what it has learned to other videos"
            )
        if key not in (*OTHER_VIDEOS, "pretrained_path") and theirs != ours:
            raise UserError(
                f"the checkpoint of step {step} has {key} = {theirs!r}, this run has {ours!r}; "
                f"set it back to {theirs!r} to go on, or pass another --work-dir to start a new run"
            )
    if any(key in identity and key not in saved for key in OTHER_VIDEOS):
        return [f"the checkpoint of step {step} does not tell its videos: go on only if they are the same as then"]
    return []


def _weights(identity: Mapping[str, object]) -> str:
    """Describe the weights that finetuning starts from."""
    digest = str(identity.get("pretrained", "none"))
    if digest == "none":
        return "random weights (--pretrained none)"
    return f"{identity.get('pretrained_path', 'weights')} (SHA-256 {digest[:12]}...)"


def changed_options(before: str, after: str) -> list[str]:
    """Return the options that differ between two dumped configs: "optim.lr: 0.03 -> 0.5".

    Without the work dir, and options that the older version did not have.
    """
    old, new = flat(yaml.safe_load(before)), flat(yaml.safe_load(after))
    return [
        f"{key}: {old[key]} -> {value}"
        for key, value in new.items()
        if key in old and old[key] != value and key != "work_dir"
    ]


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a tree by their dotted keys."""
    values: dict[str, Any] = {}
    for key, value in tree.items():
        values |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return values
