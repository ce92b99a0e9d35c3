"""DPC: which of a batch's places shows the next blocks of frames (specs/cpc_transformer.md 9)."""

from dataclasses import dataclass

import numpy as np

from configs.checks import check_view
from configs.errors import require
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.boxes import random_box
from dali_pipelines.plan.crops import random_crop
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.jitter import frame_colors
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Annotations, caption


@dataclass(frozen=True)
class Blocks:
    """Consecutive blocks of a video's frames, without gaps; MemDPC has them too."""

    num_blocks: int = 8
    """Blocks of a sample, observed and predicted; num_seq of the original."""
    num_frames: int = 5
    """Frames of a block; seq_len of the original."""
    stride: int = 3
    """Frame step, within and between blocks."""
    size: int = 128
    """Side that the crop is scaled to, pixels. Bilinear; the original drops pixels instead, which aliases."""

    def __post_init__(self) -> None:
        require(self.num_blocks >= 2, "num_blocks", self.num_blocks, "at least 2, one to observe and one to predict")
        for key in ("num_frames", "stride"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")

    @property
    def length(self) -> int:
        """Total number of frames in all blocks."""
        return self.num_blocks * self.num_frames


@dataclass(frozen=True)
class SquareCrop:
    """One crop for all frames; CPC + Transformer has it too."""

    short_sides: tuple[int, ...] = (240,)
    """Short sides, in pixels, that the video is scaled to before the crop."""
    crop_size: int = 224
    """Side of the square crop in the scaled video, pixels."""
    flip_prob: float = 0.5
    """Probability of mirroring all frames left to right."""

    def draw_square(self, video: VideoInfo, rng: np.random.Generator) -> np.ndarray:
        """Draw a crop, float32 (2, 2) as in `plan.crops`."""
        return random_crop(video, rng, short_sides=self.short_sides, size=self.crop_size, flip_prob=self.flip_prob)


@dataclass(frozen=True)
class Config(SquareCrop, Blocks):
    """The plan of DPC; the defaults are the original's for UCF101 at 128 pixels."""

    area: tuple[float, float] | None = None
    """Smallest and largest share of the picture that a crop of any shape takes, as on Kinetics; short_sides and
    crop_size are then ignored. null crops squares of crop_size."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_view(size=self.size, short_sides=self.short_sides, flip_prob=self.flip_prob)
        require(self.crop_size >= 16, "crop_size", self.crop_size, "at least 16 pixels")
        if self.area is not None:
            low, high = self.area
            require(0 < low <= high <= 1, "area", list(self.area), "two shares above 0 and at most 1, or null")


def min_frames(cfg: Blocks) -> int:
    """Return one frame more than a sample spans: the original drops shorter videos."""
    return cfg.length * cfg.stride + 1


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`: one crop for all frames, colors for each."""
    if cfg.area is None:
        crop = cfg.draw_square(video, rng)
    else:
        y, x, height, width = random_box(video.height, video.width, rng, area=cfg.area)
        left, right = (x + width, x) if rng.random() < cfg.flip_prob else (x, x + width)
        crop = np.array([[y, left], [y + height, right]], np.float32)
    return colored_clip(video, rng, crop, length=cfg.length, stride=cfg.stride)


def colored_clip(
    video: VideoInfo, rng: np.random.Generator, crop: np.ndarray, *, length: int, stride: int
) -> dict[str, np.ndarray]:
    """Draw the arrays of a clip with a given crop, and with colors of its own for each frame.

    As in the originals of DPC and CPC + Transformer, no clip reaches the last `stride` frames of a video.
    """
    frames = random_clip(video.num_frames, rng, length=length, strides=(stride,), jitter=False, unused=stride)
    return {"frames": frames, **CropResize.arrays([crop]), **Recolor.arrays(frame_colors(rng, length))}


def program(cfg: Blocks) -> Program:
    """Return the operations on the frames of all blocks."""
    return consecutive_views([cfg.length], CropResize(cfg.size), Recolor())


def batch_schema(cfg: Blocks) -> Schema:
    """Return the batch schema, shape and dtype per sample: the blocks in order."""
    return {"clips": ((cfg.num_blocks, 3, cfg.num_frames, cfg.size, cfg.size), "float32")}


def annotate(plan: dict[str, np.ndarray], cfg: Blocks) -> Annotations:
    """Say which frames each block has."""
    blocks = plan["frames"].reshape(cfg.num_blocks, cfg.num_frames)
    return Annotations([f"block {number}, {caption(block)}" for number, block in enumerate(blocks, 1)])
