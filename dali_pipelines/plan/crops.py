"""Scaling and cropping, as one box of the source picture (specs/ctp.md 0.3)."""

from collections.abc import Sequence

import numpy as np

from dali_pipelines.plan.video import VideoInfo

CENTER = np.nextafter(0.5, 0.0)  # just under a half: an odd margin rounds down, as in (side - size) // 2


def scaled_crop(
    video: VideoInfo, *, short_side: int, size: int, y: float, x: float, flip: bool, aspect: float | None = None
) -> np.ndarray:
    """Return the source region of a `size` square crop of a video scaled to `short_side`, float32 (2, 2).

    That is its start and end as (y, x) in source pixels; start x > end x mirrors.

    `y` and `x` in [0, 1) place the crop between the first and the last whole-pixel position. The other side of
    the scaled picture is rounded to whole pixels, as in an image resize; with `aspect` it is that multiple of
    the short side, whatever the shape of the video.

    The region is moved to the nearest even source pixels, so 4:2:0 pictures can be cut before RGB conversion.
    """
    scale = short_side / min(video.width, video.height)
    height, width = (max(round(side * scale), size) for side in (video.height, video.width))
    if aspect is not None:
        long_side = max(round(short_side * aspect), size)
        height, width = (short_side, long_side) if video.height <= video.width else (long_side, short_side)
    top = int(y * (height - size + 1))
    left = int(x * (width - size + 1))
    ys = _even(top * video.height / height, size * video.height / height, video.height)
    xs = _even(left * video.width / width, size * video.width / width, video.width)
    return np.stack([ys, xs[::-1] if flip else xs], axis=1).astype(np.float32)


def _even(start: float, length: float, side: int) -> list[int]:
    """Return the nearest start and end on even pixels of a side."""
    most = max(side - side % 2, 1)
    whole = min(max(2 * round(length / 2), 2), most)
    first = min(2 * int(start / 2 + 0.5), most - whole)  # `round` prefers every other even pixel
    return [first, first + whole]


def random_crop(
    video: VideoInfo,
    rng: np.random.Generator,
    *,
    short_sides: Sequence[int],
    size: int,
    flip_prob: float,
    aspect: float | None = None,
) -> np.ndarray:
    """Draw a crop at a random scale and position, mirrored with `flip_prob`; float32 (2, 2) as in `scaled_crop`."""
    short_side = int(rng.choice(np.asarray(short_sides)))
    y, x, flip = rng.random(3)
    return scaled_crop(video, short_side=short_side, size=size, y=y, x=x, flip=flip < flip_prob, aspect=aspect)
