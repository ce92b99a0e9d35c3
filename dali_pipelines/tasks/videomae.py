"""VideoMAE: what the hidden parts of the clip look like.

Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training",
NeurIPS 2022, arXiv 2203.12602.
"""

from dataclasses import dataclass

import numpy as np

from configs.checks import check_view
from configs.errors import require
from dali_pipelines.pixels.crop import CropBox
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.boxes import multi_scale_box
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Annotations, caption


@dataclass(frozen=True)
class MaskedClip:
    """A clip of which some cells are hidden, the same ones in all frames; V-JEPA has it too."""

    num_frames: int = 16
    """Frames of a clip, T."""
    stride: int = 4
    """Frame step within a clip."""
    size: int = 224
    """Side of the square that crops are scaled to, pixels."""
    flip_prob: float = 0.5
    """Probability of mirroring the clip left to right."""
    patch: int = 16
    """Side of a cell, pixels: that of the backbone's tubelets."""

    def __post_init__(self) -> None:
        check_view(size=self.size, short_sides=(self.size,), flip_prob=self.flip_prob)
        for key in ("num_frames", "stride", "patch"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        require(self.size % self.patch == 0, "size", self.size, f"a multiple of patch = {self.patch}")

    @property
    def cells(self) -> int:
        """Number of cells in a frame."""
        return (self.size // self.patch) ** 2


@dataclass(frozen=True)
class Config(MaskedClip):
    """The plan of VideoMAE; the defaults are the original's for Kinetics-400.

    Clips are mirrored as in the paper; the published code never does.
    """

    scales: tuple[float, ...] = (1.0, 0.875, 0.75, 0.66)
    """Sides of a crop, as shares of the video's shorter side; height and width are equal or neighbors in this list."""
    mask_ratio: float = 0.9
    """Share of cells that are hidden; their number is rounded down."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fit = bool(self.scales) and 0 < min(self.scales) <= max(self.scales) <= 1
        require(fit, "scales", list(self.scales), "one share or more, each above 0 and at most 1")
        some = self.mask_ratio < 1 and 0 < self.hidden < self.cells
        require(some, "mask_ratio", self.mask_ratio, f"a share that hides some of {self.cells} cells and shows others")

    @property
    def hidden(self) -> int:
        """Number of hidden cells in a frame."""
        return int(self.mask_ratio * self.cells)


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`. A video shorter than the span repeats its last frame.

    As in the original, no clip reaches the last `stride` - 1 frames of a video.
    """
    frames = random_clip(
        video.num_frames, rng, length=cfg.num_frames, strides=(cfg.stride,), jitter=False, unused=cfg.stride - 1
    )
    box = multi_scale_box(video.height, video.width, rng, size=cfg.size, scales=cfg.scales)
    flips = rng.random(1) < cfg.flip_prob
    hidden, visible = np.split(rng.permutation(cfg.cells), [cfg.hidden])
    return {"frames": frames, **CropBox.arrays([box], flips), "visible": np.sort(visible), "hidden": np.sort(hidden)}


def program(cfg: MaskedClip) -> Program:
    """Return the operations on the clip."""
    return consecutive_views([cfg.num_frames], CropBox(cfg.size))


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: the clip, and the indices of the cells, row by row."""
    return {
        "clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32"),
        "visible": ((cfg.cells - cfg.hidden,), "int64"),
        "hidden": ((cfg.hidden,), "int64"),
    }


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say which frames the clip has, and shade hidden cells."""
    return shade(plan, cfg, hidden=plan["hidden"], count=str(cfg.hidden))


def shade(plan: dict[str, np.ndarray], cfg: MaskedClip, *, hidden: np.ndarray, count: str) -> Annotations:
    """Say which frames the clip has and how many cells are hidden, and shade those in `hidden`."""
    side = cfg.size // cfg.patch
    text = f"{caption(plan['frames'])}; {count} of {cfg.cells} cells hidden"
    return Annotations([text], shaded=np.isin(np.arange(cfg.cells), hidden).reshape(1, side, side))
