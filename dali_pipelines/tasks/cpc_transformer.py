"""CPC + Transformer: which of a batch's places shows the future of a few frames (specs/cpc_transformer.md 1, 2)."""

from dataclasses import dataclass

import numpy as np

from configs.checks import check_view
from configs.errors import require
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.crops import random_crop
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.jitter import frame_colors
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Annotations


@dataclass(frozen=True)
class Config:
    """Single frames of a video; the defaults are the original's for "5pred3" at 224 pixels."""

    num_frames: int = 5
    """Frames of a clip, observed and predicted; num_seq of the original."""
    stride: int = 3
    """Frame step."""
    short_sides: tuple[int, ...] = (240,)
    """Short sides, in pixels, that the video is scaled to before the crop."""
    crop_size: int = 224
    """Side of the square crop in the scaled video, pixels."""
    size: int = 224
    """Side that the crop is scaled to, pixels. Bilinear; the original drops pixels instead, which aliases."""
    flip_prob: float = 0.5
    """Probability of mirroring the clip left to right."""

    def __post_init__(self) -> None:
        require(self.num_frames >= 2, "num_frames", self.num_frames, "at least 2, one to observe and one to predict")
        require(self.stride >= 1, "stride", self.stride, "at least 1")
        check_view(size=self.size, short_sides=self.short_sides, flip_prob=self.flip_prob)
        require(self.crop_size >= 16, "crop_size", self.crop_size, "at least 16 pixels")


def min_frames(cfg: Config) -> int:
    """Return one frame more than a sample spans: the original drops shorter videos."""
    return cfg.num_frames * cfg.stride + 1


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`: one crop for all frames, colors for each.

    As in the original, no clip reaches the last `stride` frames of a video.
    """
    crop = random_crop(video, rng, short_sides=cfg.short_sides, size=cfg.crop_size, flip_prob=cfg.flip_prob)
    frames = random_clip(
        video.num_frames, rng, length=cfg.num_frames, strides=(cfg.stride,), jitter=False, unused=cfg.stride
    )
    return {
        "frames": frames,
        **CropResize.arrays([crop]),
        **Recolor.arrays(frame_colors(rng, cfg.num_frames)),
    }


def program(cfg: Config) -> Program:
    """Return the operations on the frames."""
    return consecutive_views([cfg.num_frames], CropResize(cfg.size), Recolor())


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample."""
    return {"clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32")}


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say which frames the clip has."""
    frames, flipped = plan["frames"], plan["crop_start"][0, 1] > plan["crop_end"][0, 1]
    return Annotations([f"frames {frames[0]} to {frames[-1]}{', mirrored' if flipped else ''}"])
