"""Pairs of clips and pairs of boxes that share a known part of each other (specs/cstp.md 1.2 to 1.6)."""

import numpy as np

from dali_pipelines.plan.boxes import Box

STRIDES = (1, 2, 4, 8)
RATES = (1.0, 0.8, 0.6, 0.4, 0.2)  # what two clips, or two boxes, share: class c is (5 - c) fifths


def random_stride(num_frames: int, rng: np.random.Generator, *, length: int) -> int:
    """Draw the class of a stride, uniform among those of STRIDES that fit the video; 0 where none does."""
    fitting = sum(stride * (length - 1) <= num_frames for stride in STRIDES)
    return int(rng.integers(max(fitting, 1)))


def overlapping_starts(
    num_frames: int, rng: np.random.Generator, *, length: int, stride: int, truncate: bool = False
) -> tuple[int, int, int]:
    """Draw the first frames of two clips, and the class of how much of their span, `stride * (length - 1)`, they share.

    Class and direction are drawn until the second clip lies in the video, so that large shares come more often in
    short videos. A video no longer than the span has one clip, twice.

    The offset is a whole number of strides, or the clips of a class would show themselves by having no frame in common;
    with `truncate` it is the original's, whose floats lose a frame of class 1: 2, 5, 11 and 23 instead of 3, 6, 12, 24.
    """
    span = stride * (length - 1)
    last = num_frames - span - 1
    if last < 0:
        return 0, 0, 0
    first = int(rng.integers(last, endpoint=True))
    while True:
        share, backwards = int(rng.integers(len(RATES))), rng.random() < 0.5
        missing = 1 - RATES[share]
        offset = int(missing * span) if truncate else stride * round(missing * (length - 1))
        second = first - offset if backwards else first + offset
        if 0 <= second <= last:
            return first, second, share


def looped_clip(start: int, *, num_frames: int, length: int, stride: int) -> np.ndarray:
    """Return every `stride`-th frame from `start` on, again from there where the video ends; int32 (length,)."""
    period = -(-(num_frames - start) // stride)
    return (start + stride * (np.arange(length) % period)).astype(np.int32)


def overlapping_box(first: Box, height: int, width: int, rng: np.random.Generator) -> tuple[Box, int]:
    """Draw a box of the size of the first, on even pixels, and the class of the share of its area in both.

    Their intersection touches one corner of the first box and is anything from as wide as that box to as high as it.
    Everything is drawn until the box is within the picture at the two sides that it moved to, so large shares come
    more often: .65, .21, .09, .04, .02 at 341x256. Even pixels make the shared area less than its class says, by less
    than two rows of the box.
    """
    y, x, h, w = (number // 2 for number in first)
    while True:
        share = int(rng.integers(len(RATES)))
        fifths = len(RATES) - share
        common_w = int(rng.integers(-(-fifths * w // 5), w, endpoint=True))
        common_h = fifths * w * h // (5 * common_w)
        up, left = rng.random(2) < 0.5
        top = y - (h - common_h) if up else y + (h - common_h)
        side = x - (w - common_w) if left else x + (w - common_w)
        if (top >= 0 if up else top + h <= height // 2) and (side >= 0 if left else side + w <= width // 2):
            return (2 * top, 2 * side, 2 * h, 2 * w), share


def unrotated(box: Box, turns: int, height: int, width: int) -> Box:
    """Return where a box of the picture rotated counter-clockwise by `turns` x 90 degrees lies in the picture itself.

    `height` and `width` are those of the picture itself.
    """
    y, x, h, w = box
    return [(y, x, h, w), (x, width - y - h, w, h), (height - y - h, width - x - w, h, w), (height - x - w, y, w, h)][
        turns
    ]
