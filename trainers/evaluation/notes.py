"""Notes on what affects a result: the lists of videos, and clips unlike those of pretraining."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from configs.errors import first_names, shown
from configs.schema import Recognition
from configs.words import counted
from dali_pipelines.store.index import Index
from trainers.weights import CLIP


def notes_on(train: Index, test: Index | None) -> list[str]:
    """List problems of the training and test videos that affect the result, one sentence each.

    Classes without training videos, or a single class; if the test videos are known, also a test of one class, for
    which a constant answer is always right, and test videos that are training videos too.
    """
    names, notes = train.class_names, []
    unseen = np.setdiff1d(np.arange(len(names)), train.labels)
    if len(unseen):
        tested = 0 if test is None else int(np.isin(test.labels, unseen).sum())
        seen = "" if test is None else f"; {counted(tested, 'test video')} of such a class"
        listed = first_names([names[label] for label in unseen])
        total = counted(len(names), "class", "classes")
        notes.append(f"no training video of {len(unseen)} of {total} ({listed}){seen}")
    if len(names) == 1:
        notes.append(
            f"all training videos are of one class, {shown(names[0])}: there is nothing to tell apart. Classes are the "
            "folders directly below the one that was prepared"
        )
    if test is None:
        return notes
    if len(set(test.labels.tolist())) == 1:
        notes.append("all test videos are of one class: a constant answer may be right for all of them")
    if shared := set(train.names.texts()).intersection(test.names.texts()):
        notes.append(
            f"{len(shared)} of {counted(len(test), 'test video')} also in the training list, such as "
            f"{shown(min(shared))}: the test's accuracy will be too high"
        )
    return notes


def clip_differences(config: Recognition, clip: Mapping[str, Any]) -> list[str]:
    """List how the recipe's clips differ from those of pretraining, one sentence each."""
    ours = {name: getattr(config.plan, name) for name in ("num_frames", "stride", "size", "normalization")}
    theirs = {name: [clip[name]] for name in CLIP if name != "strides" and name in clip}
    theirs["stride"] = clip.get("strides", [config.plan.stride])
    return [
        f"plan.{key} is {value}; the network was pretrained with {' and '.join(map(str, theirs[key]))}"
        for key, value in ours.items()
        if key in theirs and value not in theirs[key]
    ]
