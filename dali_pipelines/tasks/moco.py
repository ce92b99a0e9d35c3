"""MoCo: which key, among those of many videos, is another view of the same one (specs/ctp.md 1.3)."""

from dataclasses import dataclass, field

import numpy as np

from configs.checks import check_steps, check_view
from configs.errors import require
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.plan.views import AspectReference, ViewSettings, baseline_view
from dali_pipelines.tasks import Annotations, caption

VIEWS = ("query", "key")


@dataclass(frozen=True)
class Config(ViewSettings):
    """The plan of MoCo; the defaults are the original's (specs/ctp.md 1.3)."""

    num_frames: int = 16
    """Frames of a clip, T."""
    strides: tuple[int, ...] = (1, 2, 3, 4)
    """Frame steps to draw from, one for each clip."""
    reference: AspectReference = field(default_factory=AspectReference)
    """The original's flaws, each off by default."""

    def __post_init__(self) -> None:
        check_view(size=self.size, short_sides=self.short_sides, flip_prob=self.flip_prob)
        require(self.num_frames >= 1, "num_frames", self.num_frames, "at least 1")
        check_steps("strides", self.strides)


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`: two views that share nothing but the video.

    A video shorter than a clip's span repeats its last frame.
    """
    clips = [random_clip(video.num_frames, rng, length=cfg.num_frames, strides=cfg.strides, jitter=True) for _ in VIEWS]
    views = [baseline_view(video, rng, cfg, aspect=cfg.reference.aspect) for _ in VIEWS]
    return {
        "frames": np.concatenate(clips),
        **CropResize.arrays([crop for crop, _ in views]),
        **Recolor.arrays([colors for _, colors in views for _ in range(cfg.num_frames)]),
    }


def program(cfg: Config) -> Program:
    """Return the operations on the two views."""
    return consecutive_views([cfg.num_frames] * len(VIEWS), CropResize(cfg.size), Recolor())


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: the query's clip and the key's."""
    return {"clips": ((len(VIEWS), 3, cfg.num_frames, cfg.size, cfg.size), "float32")}


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say which frames each view shows, and whether it is mirrored."""
    clips = plan["frames"].reshape(len(VIEWS), cfg.num_frames)
    flips = plan["crop_start"][:, 1] > plan["crop_end"][:, 1]
    views = zip(VIEWS, clips, flips, strict=True)
    return Annotations([f"{name}: {caption(clip, mirrored=flip)}" for name, clip, flip in views])
