"""One view of a video as the baselines of CtP draw it: MemDPC, MoCo, Rot3D and SpeedNet (specs/ctp.md 1.2 to 1.5)."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from configs.errors import require
from dali_pipelines.plan.color_map import ColorMap, color_arrays, color_schema
from dali_pipelines.plan.crops import random_crop
from dali_pipelines.plan.jitter import mild_jitter
from dali_pipelines.store.index import VideoInfo

FIXED_ASPECT = 4 / 3
"""The originals of MemDPC, MoCo, Rot3D and VCOP squeeze every video to this: short sides 112, 128 and 144 have the
long sides 149, 171 and 192, whatever the video's shape (specs/ctp.md 0.3, 6.4.22)."""


class ViewConfig(Protocol):
    """What a task's Config says of its views."""

    @property
    def size(self) -> int: ...

    @property
    def short_sides(self) -> tuple[int, ...]: ...

    @property
    def flip_prob(self) -> float: ...


def check_view(cfg: ViewConfig) -> None:
    """ValueError, as `require` says it, for settings that no view can have."""
    require(cfg.size >= 16, "size", cfg.size, "at least 16 pixels")
    wanted = "one whole number or more, each at least 1"
    require(bool(cfg.short_sides) and min(cfg.short_sides) >= 1, "short_sides", list(cfg.short_sides), wanted)
    require(0 <= cfg.flip_prob <= 1, "flip_prob", cfg.flip_prob, "from 0 to 1")


def baseline_view(
    video: VideoInfo, rng: np.random.Generator, cfg: ViewConfig, *, fixed_aspect: bool = False
) -> tuple[np.ndarray, ColorMap]:
    """A random crop, float32 (2, 2) as in `plan.crops`, and the colors for all frames of the view.

    With `fixed_aspect` the video is squeezed to `FIXED_ASPECT`.
    """
    crop = random_crop(
        video,
        rng,
        short_sides=cfg.short_sides,
        size=cfg.size,
        flip_prob=cfg.flip_prob,
        aspect=FIXED_ASPECT if fixed_aspect else None,
    )
    return crop, mild_jitter(rng)


def view_arrays(frames: np.ndarray, crop: np.ndarray, colors: Sequence[ColorMap]) -> dict[str, np.ndarray]:
    """The arrays of a plan whose frames, int32 (T,), share a crop and have a color map each."""
    return {"frames": frames, "crop_start": crop[0], "crop_end": crop[1], **color_arrays(colors)}


def view_schema(frames: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of `view_arrays`."""
    crop: dict[str, tuple[tuple[int, ...], str]] = {"crop_start": ((2,), "float32"), "crop_end": ((2,), "float32")}
    return {"frames": ((frames,), "int32"), **crop, **color_schema(frames)}
