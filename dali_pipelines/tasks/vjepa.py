"""V-JEPA: what features the hidden blocks of the clip have.

Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations from Video", TMLR 2024,
arXiv 2404.08471.
"""

from dataclasses import dataclass

import numpy as np

from configs.checks import check_view
from configs.errors import require
from dali_pipelines.pixels.crop import CropBox
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.boxes import random_box
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Annotations

AREA = (0.3, 1.0)  # of a crop, as a share of the picture
ASPECT = (1.0, 1.35)  # of its longer side to the shorter one
BLOCK_ASPECT = (0.75, 1.5)  # of a block's height to its width


@dataclass(frozen=True)
class Config:
    """The plan of V-JEPA; the defaults are the original's for clips of 224 pixels."""

    num_frames: int = 16
    """Frames of a clip, T."""
    stride: int = 4
    """Frame step within a clip."""
    size: int = 224
    """Side of the square that crops are scaled to, pixels."""
    flip_prob: float = 0.5
    """Probability of mirroring the clip left to right."""
    patch: int = 16
    """Side of a cell of the masks, pixels: that of the backbone's tubelets."""
    masks: tuple[tuple[float, float], ...] = ((0.15, 0.77), (0.7, 0.94))
    """The masks of each clip: area of one block, and of all blocks together, as shares of the picture."""

    def __post_init__(self) -> None:
        check_view(size=self.size, short_sides=(self.size,), flip_prob=self.flip_prob)
        for key in ("num_frames", "stride", "patch"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        require(self.size % self.patch == 0, "size", self.size, f"a multiple of patch = {self.patch}")
        fit = bool(self.masks) and all(
            0 < area <= 1 and 0 < self.hidden(all_) < self.cells for area, all_ in self.masks
        )
        shares = f"pairs of shares, the second one such that some of {self.cells} cells are hidden and others shown"
        require(fit, "masks", [list(mask) for mask in self.masks], shares)

    @property
    def cells(self) -> int:
        """Number of cells in a frame."""
        return (self.size // self.patch) ** 2

    def hidden(self, share: float) -> int:
        """Convert a share of a frame to a number of cells, rounded."""
        return round(share * self.cells)


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`. A video shorter than the span repeats its last frame."""
    frames = random_clip(video.num_frames, rng, length=cfg.num_frames, strides=(cfg.stride,), jitter=False)
    box = random_box(video.height, video.width, rng, area=AREA, ratio=ASPECT)
    sample = {"frames": frames, **CropBox.arrays([box], rng.random(1) < cfg.flip_prob)}
    for number, (area, share) in enumerate(cfg.masks):
        hidden = hidden_blocks(cfg.size // cfg.patch, rng, area=area, count=cfg.hidden(share))
        sample |= {f"visible_{number}": np.flatnonzero(~hidden), f"hidden_{number}": np.flatnonzero(hidden)}
    return sample


def hidden_blocks(side: int, rng: np.random.Generator, *, area: float, count: int) -> np.ndarray:
    """Draw the hidden cells of a frame, bool (side * side,): blocks of one shape, as many as it takes.

    The last block is cut short when `count` cells are hidden. The original draws 8 or 2 blocks, then drops cells until
    all masks of a batch have the same number; here a sample does not depend on its batch.
    """
    aspect = rng.uniform(*BLOCK_ASPECT)
    height, width = (min(side, max(1, round(side * share**0.5))) for share in (area * aspect, area / aspect))
    hidden = np.zeros((side, side), bool)
    while (missing := count - hidden.sum()) > 0:
        y, x = rng.integers((side - height, side - width), endpoint=True)
        block = np.zeros_like(hidden)
        block[y : y + height, x : x + width] = True
        hidden.flat[np.flatnonzero(block & ~hidden)[:missing]] = True
    return hidden.ravel()


def program(cfg: Config) -> Program:
    """Return the operations on the clip."""
    return consecutive_views([cfg.num_frames], CropBox(cfg.size))


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: the clip, and the cells of each mask, row by row."""
    schema: Schema = {"clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32")}
    for number, (_, share) in enumerate(cfg.masks):
        hidden = cfg.hidden(share)
        schema |= {f"visible_{number}": ((cfg.cells - hidden,), "int64"), f"hidden_{number}": ((hidden,), "int64")}
    return schema


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say which frames the clip has and what each mask hides, and shade what the first one hides."""
    frames, side = plan["frames"], cfg.size // cfg.patch
    counts = " or ".join(str(cfg.hidden(share)) for _, share in cfg.masks)
    caption = f"frames {frames[0]} to {frames[-1]}; {counts} of {cfg.cells} cells hidden"
    return Annotations([caption], shaded=np.isin(np.arange(cfg.cells), plan["hidden_0"]).reshape(1, side, side))
