"""Recognition: of which class the video of a clip is (specs/ctp.md 3, specs/evaluation.md 3)."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from configs.checks import check_view
from configs.errors import require
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropBox, CropResize
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.boxes import random_box
from dali_pipelines.plan.color_map import IDENTITY, ColorMap
from dali_pipelines.plan.crops import random_crop
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.jitter import jitter, mild_jitter
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.plan.views import AspectReference
from dali_pipelines.tasks import Annotations, caption

MOST_CLIPS = 1000
"""Largest number of clips of a video in a test."""


@dataclass(frozen=True)
class TestReference:
    """Opt-in behavior of CoCLR in tests (specs/evaluation.md 6, 9)."""

    __test__ = False  # not pytest's

    jitter: bool = False
    """Slightly change the colors of three clips in ten at random: the result is that of one draw."""
    gallery_random_clip: bool = False
    """Retrieval: the feature of a training video comes from one clip at a random time instead of from `clips`."""


@dataclass(frozen=True)
class Test:
    """The views of a video in a test: `clips` x `crops`."""

    __test__ = False  # not pytest's

    clips: int | Literal["windows", "random"] = 10
    """Clips spread evenly over the video. windows: one every `window_step` frames, as many as that gives. random:
    one at a random time."""
    window_step: int | None = None
    """Frames from the start of one window to the next. null: half a clip less one, as in CoCLR (specs/evaluation.md 1).
    A last window ends with the video."""
    crops: Literal["center", "three", "five", "ten"] = "center"
    """center: one in the middle. three: spread along the longer side. five: middle and corners. ten: those and their
    mirror images."""
    short_side: int = 128
    """Short side, in pixels, that the video is scaled to before the crop."""
    average: Literal["logits", "probabilities"] = "logits"
    """What is averaged over the views."""
    reference: TestReference = field(default_factory=TestReference)
    """The originals' flaws, each off by default."""

    def __post_init__(self) -> None:
        ways = f"from 1 to {MOST_CLIPS}, windows or random"
        counted = isinstance(self.clips, int) and 1 <= self.clips <= MOST_CLIPS
        require(counted or self.clips in ("windows", "random"), "clips", self.clips, ways)
        require(self.crops in ("center", "three", "five", "ten"), "crops", self.crops, "center, three, five or ten")
        require(self.window_step is None or self.window_step >= 1, "window_step", self.window_step, "at least 1")
        require(self.short_side >= 1, "short_side", self.short_side, "at least 1")


@dataclass(frozen=True)
class Config:
    """Clips for recognition; the defaults are CtP's for UCF101 and HMDB51 (specs/ctp.md 3)."""

    num_frames: int = 16
    """Frames of a clip, T."""
    stride: int = 2
    """Frame step within a clip."""
    size: int = 112
    """Side of the square crop, pixels."""
    normalization: str = "imagenet"
    """A name in pixels.normalize.NORMALIZATIONS: that of the pretraining task."""
    scaling: Literal["bilinear", "bicubic"] = "bilinear"
    """How crops are scaled, in training and in tests; antialiased."""
    short_sides: tuple[int, ...] = (112, 128, 144)
    """Training: short sides, in pixels, that the video is scaled to before a random crop."""
    area: tuple[float, float] | None = None
    """Training: instead, crop a share of the picture between these two, with an aspect ratio from 3:4 to 4:3."""
    flip_prob: float = 0.35
    """Training: probability of mirroring the clip left to right."""
    jitter: tuple[float, float, float, float] | None = None
    """Training: brightness, contrast, saturation and hue of torchvision's ColorJitter; null uses CtP's mild color
    changes instead, each with a probability of 0.2."""
    jitter_prob: float = 0.3
    """Training: probability of that ColorJitter, drawn for the clip."""
    repeats: int = 1
    """Training: views of the clip, R, each with its own crop and colors; decoded once (repeated augmentation,
    arXiv 1901.09335). The network gets R clips for each video of train.global_batch."""
    reference: AspectReference = field(default_factory=AspectReference)
    """The original's flaws, each off by default."""
    test: Test = field(default_factory=Test)
    """See Test."""

    def __post_init__(self) -> None:
        check_view(size=self.size, short_sides=self.short_sides, flip_prob=self.flip_prob)
        for key in ("num_frames", "stride", "repeats"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        require(self.repeats <= 100, "repeats", self.repeats, "at most 100: each is a view of DALI's graph")
        require(self.normalization in NORMALIZATIONS, "normalization", self.normalization, " or ".join(NORMALIZATIONS))
        if self.area is not None:
            require(0 < self.area[0] <= self.area[1] <= 1, "area", list(self.area), "two shares, rising, above 0")
        least = f"at least size = {self.size}, the side of the crop"
        require(self.test.short_side >= self.size, "test.short_side", self.test.short_side, least)
        require(0 <= self.jitter_prob <= 1, "jitter_prob", self.jitter_prob, "from 0 to 1")


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`. A video shorter than the span repeats its last frame."""
    frames = random_clip(video.num_frames, rng, length=cfg.num_frames, strides=(cfg.stride,), jitter=False)
    drawn = [(_draw_crop(video, rng, cfg), _draw_colors(rng, cfg)) for _ in range(cfg.repeats)]
    crops = [crop for crop, _ in drawn]
    return {
        "frames": np.tile(frames, cfg.repeats),
        **{name: np.concatenate([crop[name] for crop in crops]) for name in crops[0]},
        **Recolor.arrays([colors for _, colors in drawn for _ in range(cfg.num_frames)]),
        "labels": np.array(video.label, np.int64),
    }


def _draw_crop(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    if cfg.area is None:
        sides, aspect = cfg.short_sides, cfg.reference.aspect
        crop = random_crop(video, rng, short_sides=sides, size=cfg.size, flip_prob=cfg.flip_prob, aspect=aspect)
        return CropResize.arrays([crop])
    box = random_box(video.height, video.width, rng, area=cfg.area)
    return CropBox.arrays([box], rng.random(1) < cfg.flip_prob)


def _draw_colors(rng: np.random.Generator, cfg: Config) -> ColorMap:
    if cfg.jitter is None:
        return mild_jitter(rng)
    drawn = rng.random() < cfg.jitter_prob
    brightness, contrast, saturation, hue = cfg.jitter
    change = jitter(rng, brightness=brightness, contrast_=contrast, saturation_=saturation, hue_turn=hue)
    return change if drawn else IDENTITY


def program(cfg: Config) -> Program:
    """Return the operations on the clip, for each of its views."""
    crop = (CropResize if cfg.area is None else CropBox)(cfg.size, cubic=cfg.scaling == "bicubic")
    return consecutive_views([cfg.num_frames] * cfg.repeats, crop, Recolor(), normalization=cfg.normalization)


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: a clip, or R of them, and its class."""
    views = (cfg.repeats,) * (cfg.repeats > 1)
    return {"clips": ((*views, 3, cfg.num_frames, cfg.size, cfg.size), "float32"), "labels": ((), "int64")}


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say which frames the clip has."""
    return Annotations([caption(plan["frames"])] * cfg.repeats)
