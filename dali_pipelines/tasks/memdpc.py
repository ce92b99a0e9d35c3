"""MemDPC: what the next blocks of a video look like to the network, and the ones before (specs/ctp.md 1.2)."""

from dataclasses import dataclass, field

import numpy as np

from configs.checks import check_view
from configs.errors import require
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.plan.views import AspectReference, baseline_view
from dali_pipelines.tasks import Annotations


@dataclass(frozen=True)
class Config:
    """The plan of MemDPC; the defaults are the original's (specs/ctp.md 1.2)."""

    num_blocks: int = 8
    """Consecutive blocks of a video, N, without gaps."""
    num_frames: int = 5
    """Frames of a block, T."""
    stride: int = 3
    """Frame step, within and between blocks."""
    size: int = 112
    """Side of the square crop, pixels."""
    short_sides: tuple[int, ...] = (112, 128, 144)
    """Short sides, in pixels, that the video is scaled to before the crop."""
    flip_prob: float = 0.5
    """Probability of mirroring all blocks left to right."""
    reference: AspectReference = field(default_factory=AspectReference)
    """The original's flaws, each off by default."""

    def __post_init__(self) -> None:
        check_view(size=self.size, short_sides=self.short_sides, flip_prob=self.flip_prob)
        require(self.num_blocks >= 2, "num_blocks", self.num_blocks, "at least 2, one to observe and one to predict")
        for key in ("num_frames", "stride"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")

    @property
    def length(self) -> int:
        """Total number of frames in all blocks."""
        return self.num_blocks * self.num_frames


def min_frames(cfg: Config) -> int:
    """Return one frame more than the blocks span: the original drops videos of 120 frames and fewer."""
    return cfg.length * cfg.stride + 1


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`. All blocks have the same crop and the same colors.

    The loader drops videos shorter than `min_frames`; here they repeat their last frame.
    """
    start = rng.integers(max(video.num_frames - min_frames(cfg) + 1, 1))
    frames = start + cfg.stride * np.arange(cfg.length)
    crop, colors = baseline_view(video, rng, cfg, aspect=cfg.reference.aspect)
    frames = np.minimum(frames, video.num_frames - 1).astype(np.int32)
    return {"frames": frames, **CropResize.arrays([crop]), **Recolor.arrays([colors] * cfg.length)}


def program(cfg: Config) -> Program:
    """Return the operations on the frames of all blocks."""
    return consecutive_views([cfg.length], CropResize(cfg.size), Recolor())


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: the blocks in order."""
    return {"clips": ((cfg.num_blocks, 3, cfg.num_frames, cfg.size, cfg.size), "float32")}


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say which frames each block shows."""
    blocks = plan["frames"].reshape(cfg.num_blocks, cfg.num_frames)
    return Annotations([f"block {n}, frames {block[0]} to {block[-1]}" for n, block in enumerate(blocks, 1)])
