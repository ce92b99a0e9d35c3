"""3D-RotNet: by how many quarter turns the clip was rotated (specs/ctp.md 1.4)."""

from dataclasses import dataclass, field

import numpy as np

from configs.checks import check_steps, check_view
from configs.errors import require
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Operation, Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.pixels.rotate import Rot90, Translate
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.plan.views import AspectReference, ViewSettings, baseline_view
from dali_pipelines.tasks import Annotations

SHIFTS = np.array([(0, 0), (0, 1), (1, 1), (1, 0)], np.float32)
"""Class -> pixels right and down by which the original's rotation is off."""


@dataclass(frozen=True)
class Reference(AspectReference):
    """Opt-in behavior of the original."""

    shifted_rotation: bool = False
    """Rotate about a point half a pixel off the center: the clip shifts by a pixel and repeats a line, at the top for
    90 degrees, at the left for 270, at both for 180. The border alone then reveals the class."""


@dataclass(frozen=True)
class Config(ViewSettings):
    """The plan of 3D-RotNet; the defaults are those of CtP's baseline (specs/ctp.md 1.4).

    Clips are mirrored before they are rotated.
    """

    num_frames: int = 16
    """Frames of a clip, T."""
    strides: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Frame steps to draw from."""
    reference: Reference = field(default_factory=Reference)
    """The original's flaws, each off by default."""

    def __post_init__(self) -> None:
        check_view(size=self.size, short_sides=self.short_sides, flip_prob=self.flip_prob)
        require(self.num_frames >= 1, "num_frames", self.num_frames, "at least 1")
        check_steps("strides", self.strides)


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`. A video shorter than the span repeats its last frame."""
    frames = random_clip(video.num_frames, rng, length=cfg.num_frames, strides=cfg.strides, jitter=True)
    crop, colors = baseline_view(video, rng, cfg, aspect=cfg.reference.aspect)
    turns = rng.integers(4)
    arrays = {
        "frames": frames,
        **CropResize.arrays([crop]),
        "rot90": np.array([turns], np.float32),
        **Recolor.arrays([colors] * cfg.num_frames),
        "labels": np.array(turns, np.int64),
    }
    return arrays | {"shift": SHIFTS[turns][None]} if cfg.reference.shifted_rotation else arrays


def program(cfg: Config) -> Program:
    """Return the operations on the clip. Colors are the same in all frames, so the shift can follow them."""
    operations: list[Operation] = [CropResize(cfg.size), Rot90(), Recolor()]
    if cfg.reference.shifted_rotation:
        operations.append(Translate())
    return consecutive_views([cfg.num_frames], *operations)


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: the clip and its quarter turns, 0 to 3."""
    return {"clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32"), "labels": ((), "int64")}


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say how far the clip is rotated."""
    degrees = 90 * float(plan["rot90"][0])
    return Annotations([f"rotated by {degrees:.0f} degrees" if degrees else "upright"], up=[degrees])
