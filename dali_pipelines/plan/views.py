"""One view of a video as in CtP's baselines: MemDPC, MoCo, 3D-RotNet and SpeedNet (specs/ctp.md 1.2 to 1.5)."""

from dataclasses import dataclass

import numpy as np

from dali_pipelines.plan.color_map import ColorMap
from dali_pipelines.plan.crops import random_crop
from dali_pipelines.plan.jitter import mild_jitter
from dali_pipelines.plan.video import VideoInfo

FIXED_ASPECT = 4 / 3
"""The originals of MemDPC, MoCo, 3D-RotNet and VCOP squeeze every video to this: short sides 112, 128 and 144 get long
sides 149, 171 and 192, whatever the video's shape (specs/ctp.md 0.3, 6.4.22)."""


@dataclass(frozen=True)
class AspectReference:
    """Opt-in behavior of the originals."""

    fixed_aspect: bool = False
    """Squeeze every video to 4:3 before the crop, whatever its shape."""

    @property
    def aspect(self) -> float | None:
        """The aspect ratio that every video is squeezed to; None for its own."""
        return FIXED_ASPECT if self.fixed_aspect else None


@dataclass(frozen=True)
class ViewSettings:
    """What the recipes of CtP and of its baselines say of a view."""

    size: int = 112
    """Side of the square crop, pixels."""
    short_sides: tuple[int, ...] = (112, 128, 144)
    """Short sides, in pixels, that the video is scaled to before the crop."""
    flip_prob: float = 0.5
    """Probability of mirroring a view left to right, in all frames."""


def baseline_view(
    video: VideoInfo, rng: np.random.Generator, cfg: ViewSettings, *, aspect: float | None = None
) -> tuple[np.ndarray, ColorMap]:
    """Draw a crop, float32 (2, 2) as in `plan.crops`, and the colors for all frames of a view.

    With `aspect`, the video is squeezed to that aspect ratio.
    """
    crop = random_crop(video, rng, short_sides=cfg.short_sides, size=cfg.size, flip_prob=cfg.flip_prob, aspect=aspect)
    return crop, mild_jitter(rng)
