"""V-JEPA: what features the hidden blocks of the clip have.

Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations from Video", TMLR 2024,
arXiv 2404.08471.
"""

from dataclasses import dataclass

import numpy as np

from configs.errors import require
from dali_pipelines.pixels.crop import CropBox
from dali_pipelines.pixels.operation import Schema
from dali_pipelines.plan.boxes import random_box
from dali_pipelines.plan.frames import random_clip
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.tasks import Annotations
from dali_pipelines.tasks.videomae import MaskedClip, program, shade

__all__ = ["Config", "annotate", "batch_schema", "plan", "program"]

AREA = (0.3, 1.0)  # of a crop, as a share of the picture
ASPECT = (1.0, 1.35)  # of its longer side to the shorter one
BLOCK_ASPECT = (0.75, 1.5)  # of a block's height to its width


@dataclass(frozen=True)
class Config(MaskedClip):
    """The plan of V-JEPA; the defaults are the original's for clips of 224 pixels."""

    masks: tuple[tuple[float, float], ...] = ((0.15, 0.77), (0.7, 0.94))
    """The masks of each clip: area of one block, and of all blocks together, as shares of the picture."""

    def __post_init__(self) -> None:
        super().__post_init__()
        fit = bool(self.masks) and all(
            0 < area <= 1 and 0 < self.hidden(all_) < self.cells for area, all_ in self.masks
        )
        shares = f"pairs of shares, the second one such that some of {self.cells} cells are hidden and others shown"
        require(fit, "masks", [list(mask) for mask in self.masks], shares)

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


def batch_schema(cfg: Config) -> Schema:
    """Return the batch schema, shape and dtype per sample: the clip, and the cells of each mask, row by row."""
    schema: Schema = {"clips": ((3, cfg.num_frames, cfg.size, cfg.size), "float32")}
    for number, (_, share) in enumerate(cfg.masks):
        hidden = cfg.hidden(share)
        schema |= {f"visible_{number}": ((cfg.cells - hidden,), "int64"), f"hidden_{number}": ((hidden,), "int64")}
    return schema


def annotate(plan: dict[str, np.ndarray], cfg: Config) -> Annotations:
    """Say which frames the clip has and what each mask hides, and shade what the first one hides."""
    counts = " or ".join(str(cfg.hidden(share)) for _, share in cfg.masks)
    return shade(plan, cfg, hidden=plan["hidden_0"], count=counts)
