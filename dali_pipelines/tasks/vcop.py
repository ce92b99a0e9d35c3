"""VCOP: in which order three clips of the video were shuffled (specs/ctp.md 1.6)."""

from dataclasses import dataclass, field
from itertools import permutations

import numpy as np

from configs.checks import check_steps
from configs.errors import require
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.crops import random_crop
from dali_pipelines.plan.frames import clips_in_order
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.plan.views import AspectReference
from dali_pipelines.tasks import Annotations

CLIPS = 3
ORDERS = tuple(permutations(range(CLIPS)))
"""Class -> which clip is in each place, in lexicographic order."""


@dataclass(frozen=True)
class Config:
    """The plan of VCOP; the defaults are those of CtP's baseline (specs/ctp.md 1.6). Clips are neither mirrored nor
    changed in color."""

    num_frames: int = 16
    """Consecutive frames of a clip, T."""
    interval: int = 8
    """Frames between two clips; fewer if the video is too short."""
    size: int = 112
    """Side of the square crop, pixels; all clips share the crop."""
    short_sides: tuple[int, ...] = (128,)
    """Short sides, in pixels, that the video is scaled to before the crop."""
    reference: AspectReference = field(default_factory=AspectReference)
    """The original's flaws, each off by default."""

    def __post_init__(self) -> None:
        require(self.num_frames >= 1, "num_frames", self.num_frames, "at least 1")
        require(self.interval >= 1, "interval", self.interval, "at least 1")
        require(self.size >= 16, "size", self.size, "at least 16 pixels")
        check_steps("short_sides", self.short_sides)


def min_frames(cfg: Config) -> int:
    """Return enough frames for the clips to start at different ones; otherwise they have no order."""
    return cfg.num_frames + CLIPS - 1


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`."""
    clips = clips_in_order(video.num_frames, rng, clips=CLIPS, length=cfg.num_frames, interval=cfg.interval)
    crop = random_crop(video, rng, short_sides=cfg.short_sides, size=cfg.size, flip_prob=0, aspect=cfg.reference.aspect)
    label = rng.integers(len(ORDERS))
    return {
        "frames": clips[list(ORDERS[label])].ravel(),
        **CropResize.arrays([crop]),
        "labels": np.array(label, np.int64),
    }


def program(cfg: Config) -> Program:
    """Return the operations on the clips, which share a crop."""
    return consecutive_views([CLIPS * cfg.num_frames], CropResize(cfg.size))


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: the shuffled clips, and the class of their order."""
    return {"clips": ((CLIPS, 3, cfg.num_frames, cfg.size, cfg.size), "float32"), "labels": ((), "int64")}


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say where each clip is in the video."""
    return Annotations([f"clip {number + 1} of {CLIPS}" for number in ORDERS[plan["labels"]]])
