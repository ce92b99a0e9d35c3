"""MemDPC: what the next blocks of a video look like to the network, and the ones before (specs/ctp.md 1.2)."""

from dataclasses import dataclass, field

import numpy as np

from configs.checks import check_view
from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.plan.views import AspectReference, ViewSettings, baseline_view
from dali_pipelines.tasks.dpc import Blocks, annotate, batch_schema, min_frames, program

__all__ = ["Config", "annotate", "batch_schema", "min_frames", "plan", "program"]


@dataclass(frozen=True)
class Config(ViewSettings, Blocks):
    """The plan of MemDPC; the defaults are the original's (specs/ctp.md 1.2)."""

    reference: AspectReference = field(default_factory=AspectReference)
    """The original's flaws, each off by default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_view(size=self.size, short_sides=self.short_sides, flip_prob=self.flip_prob)


def plan(video: VideoInfo, rng: np.random.Generator, cfg: Config) -> dict[str, np.ndarray]:
    """Draw the arrays of one sample, as in `Task.plan_schema`. All blocks have the same crop and the same colors.

    The loader drops videos shorter than `min_frames`; here they repeat their last frame.
    """
    start = rng.integers(max(video.num_frames - min_frames(cfg) + 1, 1))
    frames = start + cfg.stride * np.arange(cfg.length)
    crop, colors = baseline_view(video, rng, cfg, aspect=cfg.reference.aspect)
    frames = np.minimum(frames, video.num_frames - 1).astype(np.int32)
    return {"frames": frames, **CropResize.arrays([crop]), **Recolor.arrays([colors] * cfg.length)}
