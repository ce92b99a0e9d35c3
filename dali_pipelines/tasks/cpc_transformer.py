"""CPC + Transformer: which of a batch's places shows the future of a few frames (specs/cpc_transformer.md 1, 2)."""

from dataclasses import dataclass

import numpy as np

from configs.checks import check_view
from configs.errors import require
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Annotations, caption
from dali_pipelines.tasks.dpc import SquareCrop, colored_clip


@dataclass(frozen=True)
class Config(SquareCrop):
    """Single frames of a video; the defaults are the original's for "5pred3" at 224 pixels."""

    num_frames: int = 5
    """Frames of a clip, observed and predicted; num_seq of the original."""
    stride: int = 3
    """Frame step."""
    size: int = 224
    """Side that the crop is scaled to, pixels. Bilinear; the original drops pixels instead, which aliases."""

    def __post_init__(self) -> None:
        require(self.num_frames >= 2, "num_frames", self.num_frames, "at least 2, one to observe and one to predict")
        require(self.stride >= 1, "stride", self.stride, "at least 1")
        check_view(size=self.size, short_sides=self.short_sides, flip_prob=self.flip_prob)
        require(self.crop_size >= 16, "crop_size", self.crop_size, "at least 16 pixels")


def min_frames(cfg: Config) -> int:
    """Return one frame more than a sample spans: the original drops shorter videos."""
    return cfg.num_frames * cfg.stride + 1


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`: one crop for all frames, colors for each."""
    return colored_clip(video, rng, cfg.draw_square(video, rng), length=cfg.num_frames, stride=cfg.stride)


def program(cfg: Config) -> Program:
    """Return the operations on the frames."""
    return consecutive_views([cfg.num_frames], CropResize(cfg.size), Recolor())


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample."""
    return {"clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32")}


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say which frames the clip has."""
    return Annotations([caption(plan["frames"], mirrored=plan["crop_start"][0, 1] > plan["crop_end"][0, 1])])
