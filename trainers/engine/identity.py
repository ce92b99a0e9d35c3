"""Facts that must match on all ranks and when a run is resumed, and the errors if they do not."""

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from typing import Any

import numpy as np
import nvidia.dali
import yaml
from numpy.typing import NDArray

from configs.convert import flat
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
"""Key of a digest that must not change -> what a difference means."""
PLACES = "videos.places"
"""Key of a digest that may change: a dataset can be prepared again during a run."""
ROWS = ("videos", "videos.names", "videos.frames", PLACES)
"""Facts that say what a row is, and where. Finetuning also keeps "videos.labels"."""


def dataset_facts(index: Index) -> dict[str, object]:
    """Return what ranks must agree on: the number of videos, and digests of the index."""
    texts = {"videos.names": json.dumps(index.names.texts()), "videos.frames": json.dumps(index.num_frames.tolist())}
    return {
        "videos": len(index),
        **{key: hashlib.sha256(text.encode()).hexdigest()[:16] for key, text in texts.items()},
        PLACES: _digest(index.numbers("init_sizes", np.int64), index.texts("sources"), index.texts("fragments")),
        "videos.labels": _digest(index.labels, Ragged.of_texts(index.class_names)),
        "videos.sizes": _digest(index.sizes_WH, index.fps),
    }


def options(config: Config) -> dict[str, object]:
    """Return a recipe's options by dotted key."""
    return flat(yaml.safe_load(dump(config)))


def versions() -> dict[str, str]:
    """Return the versions of packages that affect samples and steps."""
    found = {f"version of {name}": version(name) for name in ("clipfeed", "torch", "torchvision", "av", "numpy")}
    return found | {"version of DALI": nvidia.dali.__version__}


@cache
def version(name: str) -> str:
    """Look up the version of an installed package."""
    return metadata.version(name)


def _digest(*columns: NDArray[Any] | Ragged) -> str:
    """Hash columns row by row, however the table stores them."""
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
    """Check that a checkpoint fits this run; return warnings, one sentence each.

    UserError if it belongs to another run, whose data order or tensors differ.
    """
    saved, step = content["identity"], content["step"]
    for key, ours in identity.items():
        theirs = saved.get(key)
        if key == "pretrained" and theirs != ours:
            raise UserError(
                f"the run began with {_weights(saved)}, and --pretrained now means {_weights(identity)}; give the same "
                "to go on, or pass another --work-dir to start a new run"
            )
        if key in ("videos", *OTHER_VIDEOS) and theirs != ours:
            what = OTHER_VIDEOS.get(key, f"{theirs} videos, not {ours}")
            data = yaml.safe_load(content["config"])["data"]
            raise UserError(
                f"the checkpoint of step {step} was trained on {what}: from data.root {data['root']}, "
                f"data.list {data['list']}. Give it those videos to go on, or pass another --work-dir to start a new "
                "run; on other videos, clipfeed finetune --pretrained starts from its weights"
            )
        if key not in (PLACES, "pretrained_path") and theirs != ours:
            raise UserError(
                f"the checkpoint of step {step} has {key} = {theirs!r}, this run has {ours!r}; "
                f"set it back to {theirs!r} to go on, or pass another --work-dir to start a new run"
            )
    if saved.get(PLACES) != identity.get(PLACES):
        return [f"the dataset was prepared again or moved since step {step}: its pixels may differ from those before"]
    return []


def _weights(identity: Mapping[str, object]) -> str:
    """Describe the weights that finetuning started from."""
    digest = str(identity.get("pretrained", "none"))
    if digest == "none":
        return "random weights (--pretrained none)"
    return f"{identity.get('pretrained_path', 'weights')} (SHA-256 {digest[:12]}...)"


def changed_options(before: str, after: str) -> list[str]:
    """List the options, but the work dir, that two dumped configs have with other values: "optim.lr: 0.03 -> 0.5"."""
    old, new = flat(yaml.safe_load(before)), flat(yaml.safe_load(after))
    changed = [key for key in new if key in old and old[key] != new[key] and key != "work_dir"]
    return [f"{key}: {old[key]} -> {new[key]}" for key in changed]
