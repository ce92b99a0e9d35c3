"""SpeedNet of CtP's baselines: how fast, and in which direction, the clip plays (specs/ctp.md 1.5)."""

from dataclasses import dataclass

import numpy as np

from configs.checks import check_view
from configs.errors import require
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.frames import clip_at_speed
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.plan.views import ViewSettings, baseline_view
from dali_pipelines.tasks import Annotations

SPEEDS = (-4, -2, -1, 0, 1, 2, 4)
"""Class -> frame step; negative ones play backwards, 0 is a still."""
STRIDES = (1, 2, 4)


@dataclass(frozen=True)
class Config(ViewSettings):
    """The plan of SpeedNet; the defaults are those of CtP's baseline (specs/ctp.md 1.5).

    A video shorter than a class needs (61 frames for 16 at speed 4) repeats its last frame, so the point where the
    clip freezes reveals the class. Below 4 frames some classes look the same; with a single frame, all do.
    """

    num_frames: int = 16
    """Frames of a clip, T."""

    def __post_init__(self) -> None:
        check_view(size=self.size, short_sides=self.short_sides, flip_prob=self.flip_prob)
        require(self.num_frames >= 2, "num_frames", self.num_frames, "at least 2, for a speed to show")


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`."""
    label = rng.integers(len(SPEEDS))
    frames = clip_at_speed(video.num_frames, rng, length=cfg.num_frames, speed=SPEEDS[label])
    crop, colors = baseline_view(video, rng, cfg)
    return {
        "frames": frames,
        **CropResize.arrays([crop]),
        **Recolor.arrays([colors] * cfg.num_frames),
        "labels": np.array(label, np.int64),
    }


def program(cfg: Config) -> Program:
    """Return the operations on the clip."""
    return consecutive_views([cfg.num_frames], CropResize(cfg.size), Recolor())


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: the clip, and the index of its speed in SPEEDS."""
    return {"clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32"), "labels": ((), "int64")}


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say how the clip plays."""
    speed = SPEEDS[plan["labels"]]
    if speed == 0:
        return Annotations(["one frame, standing still"])
    step = {1: "every frame", 2: "every 2nd frame", 4: "every 4th frame"}[abs(speed)]
    return Annotations([f"{step}, backwards" if speed < 0 else step])
