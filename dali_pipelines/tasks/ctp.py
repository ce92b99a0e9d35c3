"""Catch-the-Patch: where patches that are pasted into a clip move (specs/ctp.md 1.1)."""

from dataclasses import dataclass, field

import numpy as np

from configs.checks import check_steps, check_view
from configs.errors import require
from dali_pipelines.pixels.color import BrightnessContrast, Recolor
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.paste import PastePatches
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.crops import random_crop
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.jitter import hue_saturation, varying
from dali_pipelines.plan.patches import draw_patches
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.plan.views import ViewSettings
from dali_pipelines.tasks import Annotations, caption


@dataclass(frozen=True)
class Reference:
    """Opt-in behavior of the original."""

    truncate_paste: bool = False
    """Drop the fraction of a gray level at every paste: identical content then becomes one level darker."""


@dataclass(frozen=True)
class Config(ViewSettings):
    """The plan of CtP; the defaults are the original's (specs/ctp.md 1.1)."""

    num_frames: int = 16
    """Frames of a clip, T."""
    strides: tuple[int, ...] = (1, 2, 3, 4, 5)
    """Frame steps to draw from."""
    patches: int = 3
    """Patches in a clip, R."""
    velocity: float = 3.0
    """Largest speed of a patch's center, pixels per frame along each axis."""
    growth: float = 0.025
    """Largest change of the log of a patch's side, per frame."""
    visible_prob: float = 0.8
    """Probability that a patch is visible in a frame; the loss covers hidden ones too."""
    reference: Reference = field(default_factory=Reference)
    """The original's flaws, each off by default."""

    def __post_init__(self) -> None:
        require(self.num_frames >= 2, "num_frames", self.num_frames, "at least 2, for something to move")
        check_view(size=self.size, short_sides=self.short_sides, flip_prob=self.flip_prob)
        check_steps("strides", self.strides)
        require(
            1 <= self.patches <= 100, "patches", self.patches, "from 1 to 100: each is an operation of DALI's graph"
        )
        for key, most in {"visible_prob": 1, "velocity": self.size, "growth": 1}.items():
            require(0 <= getattr(self, key) <= most, key, getattr(self, key), f"from 0 to {most}")


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`. A video shorter than the span repeats its last frame."""
    frames = random_clip(video.num_frames, rng, length=cfg.num_frames, strides=cfg.strides, jitter=True)
    crop = random_crop(video, rng, short_sides=cfg.short_sides, size=cfg.size, flip_prob=cfg.flip_prob)
    patches = draw_patches(
        rng,
        patches=cfg.patches,
        length=cfg.num_frames,
        size=cfg.size,
        velocity=cfg.velocity,
        growth=cfg.growth,
        visible_prob=cfg.visible_prob,
    )
    # 12 units of OpenCV's 8-bit hue, two degrees each.
    tint = hue_saturation(rng, prob=0.25, degrees=24, log_saturation=0.1)
    brightness = varying(rng, length=cfg.num_frames, prob=0.5, reach=30, factor=False)
    contrast = varying(rng, length=cfg.num_frames, prob=0.5, reach=0.12, factor=True)
    return {
        "frames": frames,
        **CropResize.arrays([crop]),
        **Recolor.arrays([tint] * cfg.num_frames),
        "brightness": brightness.astype(np.float32),
        "contrast": contrast.astype(np.float32),
        "boxes": patches.boxes.astype(np.float32),
        **PastePatches.arrays(patches),
    }


def program(cfg: Config) -> Program:
    """Return the operations on the clip.

    The original rotates the hue after pasting. This is linear and the same in all frames, so it can come first.
    """
    paste = PastePatches(cfg.patches, cfg.size, truncate=cfg.reference.truncate_paste)
    return consecutive_views([cfg.num_frames], CropResize(cfg.size), Recolor(), paste, BrightnessContrast())


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: the clip, and x1 y1 x2 y2 of every patch and frame."""
    return {
        "clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32"),
        "boxes": ((cfg.patches, cfg.num_frames, 4), "float32"),
    }


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Show the boxes of the patches, and say which frames these are."""
    mirrored = plan["crop_start"][0, 1] > plan["crop_end"][0, 1]
    return Annotations([caption(plan["frames"], mirrored=mirrored)], boxes=plan["boxes"][None])
