"""Pairs of clips and pairs of boxes with a known overlap (specs/cstp.md 1.2 to 1.6)."""

import numpy as np

from dali_pipelines.plan.boxes import Box

STRIDES = (1, 2, 4, 8)
RATES = (1.0, 0.8, 0.6, 0.4, 0.2)  # what two clips, or two boxes, share: class c is (5 - c) fifths


def random_stride(num_frames: int, rng: np.random.Generator, *, length: int) -> int:
    """Draw the class of a stride, uniform among those of STRIDES that fit the video; 0 if none fits."""
    fitting = sum(stride * (length - 1) <= num_frames for stride in STRIDES)
    return int(rng.integers(max(fitting, 1)))


def overlapping_starts(
    num_frames: int, rng: np.random.Generator, *, length: int, stride: int, truncate: bool = False
) -> tuple[int, int, int]:
    """Draw the first frames of two clips, and the class of the share of their span, `stride * (length - 1)`, in both.

    Class and direction are drawn until the second clip is within the video, so large shares are more frequent in
    short videos. In a video no longer than the span, both clips are the same.

    The offset is a whole number of strides; otherwise some classes would be recognizable by having no frame in common.
    With `truncate` it is the original's, whose floats lose a frame in class 1: 2, 5, 11 and 23 for 3, 6, 12 and 24.
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
    """Return every `stride`-th frame from `start` on, wrapping to `start` at the video's end; int32 (length,)."""
    period = -(-(num_frames - start) // stride)
    return (start + stride * (np.arange(length) % period)).astype(np.int32)


def overlapping_box(first: Box, height: int, width: int, rng: np.random.Generator) -> tuple[Box, int]:
    """Draw a box of the size of the first, on even pixels, and the class of the share of its area in both.

    Their intersection touches one corner of the first box, and ranges from as wide as that box to as high as it.
    Everything is drawn until the box is within the picture on the two sides that it moved to, so large shares are more
    frequent: .65, .21, .09, .04, .02 at 341x256. Rounding to even pixels makes the shared area smaller than its class
    says, by less than two rows of the box.
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
    """Map a box in a picture rotated counter-clockwise by `turns` x 90 degrees to the unrotated picture.

    `height` and `width` are those of the unrotated picture.
    """
    y, x, h, w = box
    ways = (y, x, h, w), (x, width - y - h, w, h), (height - y - h, width - x - w, h, w), (height - x - w, y, w, h)
    return ways[turns]
