"""Recipes for pretraining and finetuning on real motion, with one clip, one optimizer and one budget of frames.

The clip, the network and the budget were chosen once, before any other task was run, by the results for CtP in
bench/NOTES.md. A recipe is the task's demo.yaml with the changes below.
"""

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from configs.load import load
from configs.options import as_overrides
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.recognition import Config as Clips
from dali_pipelines.tasks.recognition import Test

FRAMES = 1_280_000
"""Frames that each task sees in pretraining; each augmented view counts. After a quarter, SpeedNet is at chance."""

MOCAP_EPOCHS = 40
"""Number of epochs of finetuning on mocap."""

CLIP: Mapping[str, Any] = {"num_frames": 8, "size": 64}
SHORT_SIDES = [64, 72, 80]
STRIDE = 4  # of the clips for judging: 2 s of mocap, 1 s of UT-Interaction

SHARED: Mapping[str, Any] = {
    "data.workers": 0,
    "data.threads": 1,
    "optim": {"name": "adamw", "lr": 1e-3, "weight_decay": 0.05, "decay_norms_and_biases": False, "clip_norm": 10.0},
    "schedule": {"kind": "cosine", "by": "iteration", "warmup_iters": 50, "milestones": []},
    "train.global_batch": 16,
    "train.checkpoint_every": 1000,
    "train.log_every": 10,
    "train.loggers": [],
}

# No flips for tasks that would match a view with its mirror image: classes of mocap differ by left and right.
PLANS: Mapping[str, Mapping[str, Any]] = {
    "concepts": {**CLIP, "flip_prob": 0.0},
    "cpc_transformer": {"num_frames": 5, "stride": 4, "size": 64, "crop_size": 64, "short_sides": SHORT_SIDES},
    "cstp": CLIP,
    "ctp": {**CLIP, "strides": [1, 2, 3, 4], "short_sides": SHORT_SIDES, "visible_prob": 1.0},
    "dpc": {
        "num_blocks": 4,
        "num_frames": 4,
        "stride": 2,
        "size": 64,
        "crop_size": 64,
        "short_sides": SHORT_SIDES,
    },
    "memdpc": {"num_blocks": 4, "num_frames": 4, "stride": 2, "size": 64, "short_sides": SHORT_SIDES},
    "moco": {**CLIP, "strides": [1, 2, 3, 4], "short_sides": SHORT_SIDES, "flip_prob": 0.0},
    "rot3d": {**CLIP, "strides": [1, 2, 3, 4], "short_sides": SHORT_SIDES},
    "speednet": {**CLIP, "short_sides": SHORT_SIDES},
    "vcop": {**CLIP, "interval": 4, "short_sides": SHORT_SIDES},
    "videomae": {**CLIP, "stride": STRIDE},
    "vjepa": {**CLIP, "stride": STRIDE},
}
NETS: Mapping[str, Mapping[str, Any]] = {
    "concepts": {"concepts": 20, "queue_size": 512, "local_from": 2},
    "moco": {"queue": 1024, "momentum": 0.99},
}


def pretraining(name: str, *, frames: int, lengths: np.ndarray) -> dict[str, Any]:
    """Return the changes to the task's demo.yaml, with dotted keys.

    `frames` is rounded to whole epochs of the long enough videos; `lengths` are their frames, int64 (videos,).
    `name` is a task, optionally with one of its `switches`, as in "rot3d+plan.reference.shifted_rotation".
    """
    task, _, switch = name.partition("+")
    changed = {f"plan.{key}": value for key, value in PLANS.get(task, {}).items()}
    net = {f"net.{key}": value for key, value in NETS.get(task, {}).items()}
    changes = {**SHARED, **changed, **net, **({switch: True} if switch else {})}
    config = load(f"{task}/demo", as_overrides(changes))
    plan = Task(task, config.plan)
    videos = max(1, int((lengths >= plan.min_frames).sum()))
    epochs = max(1, round(frames / (plan.program.frames * videos)))
    return {**changes, "train.epochs": epochs}


def switches(task: str) -> list[str]:
    """List the switches that restore a flaw of the task's original, such as "plan.reference.flip_last"."""
    config = load(f"{task}/demo")
    references = {part: getattr(getattr(config, part), "reference", None) for part in ("plan", "net")}
    return [
        f"{part}.reference.{field.name}"
        for part, reference in references.items()
        if reference is not None
        for field in fields(reference)
        if field.name != "fixed_aspect"  # mocap's videos are all square and alike
    ]


def clips(normalization: str) -> Clips:
    """Return the clips for judging and finetuning: never mirrored, as classes differ by left and right."""
    sides = tuple(SHORT_SIDES)
    test = Test(clips=4, short_side=72)
    return Clips(**CLIP, stride=STRIDE, short_sides=sides, flip_prob=0.0, normalization=normalization, test=test)


def finetuning(backbone: str, normalization: str, *, epochs: int) -> dict[str, Any]:
    """Return the changes to configs/recognition/demo.yaml."""
    return {
        **SHARED,
        "backbone": backbone,
        "plan": asdict(clips(normalization)),
        "validation": {"share": 0.0},
        "train.epochs": epochs,
    }
