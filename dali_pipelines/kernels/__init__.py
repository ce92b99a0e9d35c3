"""Pixel operations of the host: compiled if `pip install` found a C compiler, else NumPy, with bit-identical results.

NumPy takes five to thirty times as long (bench/NOTES.md).
"""

import ctypes
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.kernels import reference
from dali_pipelines.kernels.axis import Axis, CFilter

VERSION = 2
"""Version of the functions in kernels.c, to reject a library left over from another version."""
POINTER, INT, LONG = ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64
ARGUMENTS = {
    "cut": [*[POINTER] * 3, *[LONG] * 3, *[POINTER] * 4],
    "recolor": [POINTER, POINTER, INT, INT],
    "gather": [POINTER, POINTER, INT, INT, POINTER],
    "blur": [POINTER, INT, INT, INT, POINTER, INT, POINTER],
    "paste": [POINTER, INT, INT, POINTER, INT, INT, POINTER, POINTER, POINTER],
}


def load() -> ctypes.CDLL | None:
    """Load the library that setuptools compiled; None if there is none for this machine and version."""
    found = find_spec("dali_pipelines.kernels.native")
    if found is None or found.origin is None:
        return None
    try:
        library = ctypes.CDLL(found.origin)
        if ctypes.c_int.in_dll(library, "version").value != VERSION:
            return None
    except (OSError, ValueError):  # for another kind of machine; without a version
        return None
    for name, arguments in ARGUMENTS.items():
        function = getattr(library, name)
        function.argtypes, function.restype = arguments, None
    return library


NATIVE = load()
"""The compiled library, or None."""

Pixels = NDArray[np.uint8]
"""A clip, uint8 (T, H, W, 3), contiguous."""


def _at(array: NDArray[np.generic]) -> int:
    """Return the address of an array; keep the array alive while using it."""
    return int(array.ctypes.data)


def _floats(array: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return an array as contiguous float32, for the compiled functions."""
    return np.ascontiguousarray(array, np.float32)


def _counts(clip: Pixels) -> tuple[int, int]:
    """Return the number of frames in a clip and of pixels in a frame."""
    assert clip.flags.c_contiguous
    return len(clip), clip.shape[1] * clip.shape[2]


class Cut:
    """Crop and scale three planes, and convert them to RGB.

    Args:
        axes: y and x of each plane, all with the same two sizes.
        strides: bytes from row to row of each plane.
        matrix: float32 (3, 4), from (a, b, c, 1) of the planes to RGB in 0..255.
    """

    def __init__(self, axes: Sequence[Axis], strides: Sequence[int], matrix: NDArray[np.float32]) -> None:
        self.axes, self.matrix = axes, _floats(matrix)
        planes = list(zip(axes[::2], axes[1::2], strides, strict=True))
        self._offsets = [y * stride + x for (_, y), (_, x), stride in planes]
        # Rows of a tiny picture may end before the last group of neighbors.
        self._inside = all(x + filter.read <= stride for _, (filter, x), stride in planes)
        highest = max((y.high - y.low) * x.size for (y, _), (x, _), _ in planes)
        self._room = np.empty(3 * axes[0].filter.size * axes[1].filter.size + highest, np.float32)
        self._filters = (CFilter * 6)(*(filter.c for filter, _ in axes))
        self._constant = *strides, ctypes.addressof(self._filters), _at(self.matrix), _at(self._room)

    def __call__(self, planes: Sequence[Any], out: NDArray[np.uint8]) -> None:
        """Crop the 8-bit planes of a frame of PyAV, and write it to `out`, uint8 (height, width, 3), contiguous."""
        if NATIVE is None or not self._inside:
            out[...] = reference.cut(planes, self.axes, self.matrix)
        else:
            starts = [plane.buffer_ptr + offset for plane, offset in zip(planes, self._offsets, strict=True)]
            NATIVE.cut(*starts, *self._constant, _at(out))


def recolor(clip: Pixels, colors: NDArray[np.float32]) -> None:
    """Mix the channels of a clip in place.

    colors: float32 (T, 3, 7): for each of R, G and B, the factors of the old R, G and B, of their means in the
        frame, and of 1. Frames have at most 2^24 pixels.
    """
    if NATIVE is None:
        clip[...] = reference.recolor(clip, colors)
    else:
        colors = _floats(colors)
        NATIVE.recolor(_at(clip), _at(colors), *_counts(clip))


def gather(clip: Pixels, sources: NDArray[np.int32]) -> None:
    """Gather pixels from `sources` in place; sources: int32 (H, W), counted row by row, -1 for black."""
    if NATIVE is None:
        clip[...] = reference.gather(clip, sources)
    else:
        sources, room = np.ascontiguousarray(sources, np.int32), np.empty(3 * sources.size + 3, np.uint8)
        NATIVE.gather(_at(clip), _at(sources), *_counts(clip), _at(room))


def blur(clip: Pixels, weights: NDArray[np.float32]) -> None:
    """Blur each frame in place, vertically and then horizontally, reflected at the borders.

    weights: float32, of the center and of the neighbors on one side.
    """
    _, height, width, _ = clip.shape
    reach = len(weights) - 1
    if NATIVE is None or reach >= min(height, width):  # borders are reflected more than once
        clip[...] = reference.blur(clip, weights)
        return
    weights = _floats(weights)
    room = np.empty((height + 2 * reach + 2) * 3 * (width + 2 * reach), np.float32)
    NATIVE.blur(_at(clip), len(clip), height, width, _at(weights), reach, _at(room))


def paste(clip: Pixels, patch: NDArray[np.float32], boxes: NDArray[np.int32], opacity: NDArray[np.float32]) -> None:
    """Scale a patch to a box of each frame and blend it in: clip + (patch - clip) * mask * opacity, rounded, in place.

    It is sampled linearly between the centers of its pixels, and clamped beyond them.

    Args:
        clip: has square frames.
        patch: float32 (height, width, 4), the last channel a mask in 0..255.
        boxes: int32 (T, 4), y, x, height and width; within the frame unless the opacity is 0.
        opacity: float32 (T,), opacity / 255.
    """
    if NATIVE is None:
        clip[...] = reference.paste(clip, patch, boxes, opacity)
        return
    patch, opacity, boxes = _floats(patch), _floats(opacity), np.ascontiguousarray(boxes, np.int32)
    room = np.empty(4 * (patch.shape[1] + clip.shape[1]), np.float32)
    NATIVE.paste(_at(clip), *clip.shape[:2], _at(patch), *patch.shape[:2], _at(boxes), _at(opacity), _at(room))
