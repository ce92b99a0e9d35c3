"""Pixel operations of the host: compiled where `pip install` found a C compiler, else in NumPy, to the same bits.

NumPy takes five to twenty times as long (bench/NOTES.md).
"""

import ctypes
from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.kernels import reference
from dali_pipelines.kernels.axis import GROUP, Axis, CAxis

VERSION = 1
"""Of the arguments of the functions in kernels.c."""


def _library() -> ctypes.CDLL | None:
    """Load what setuptools made of kernels.c, if it is of this version of it."""
    found = find_spec("dali_pipelines.kernels.native")
    if found is None or found.origin is None:
        return None
    try:
        library = ctypes.CDLL(found.origin)
        version = ctypes.c_int.in_dll(library, "version").value
    except (OSError, ValueError):  # made for another machine, or before it had a version
        return None
    return library if version == VERSION else None


NATIVE = _library()
"""The compiled library; None where there is none."""


Pixels = NDArray[np.uint8]
"""A clip, uint8 (T, H, W, 3), contiguous."""


def _counts(clip: Pixels) -> tuple[int, int]:
    """Return the frames of a clip and the pixels of each."""
    assert clip.flags.c_contiguous
    return len(clip), clip.shape[1] * clip.shape[2]


class Cut:
    """Cut a part out of three planes, scale it, and mix the planes to RGB.

    Args:
        axes: y and x of each plane, all of the same two sizes.
        matrix: float32 (3, 4), from (a, b, c, 1) of the planes to RGB in 0..255.
    """

    def __init__(self, axes: list[Axis], matrix: NDArray[np.float32]) -> None:
        self.axes, self.matrix = axes, np.ascontiguousarray(matrix, np.float32)
        count = axes[0].size * axes[1].size
        highest = max((y.high - y.low) * x.size for y, x in zip(axes[::2], axes[1::2], strict=True))
        self._room = np.empty(3 * count + highest, np.float32)
        self._read = [int(x.at.max()) + GROUP for x in axes[1::2]]
        self._c_axes = (CAxis * 6)(*(axis.c for axis in axes))
        self._planes, self._strides = (ctypes.c_void_p * 3)(), (ctypes.c_int64 * 3)()

    def __call__(self, planes: Sequence[NDArray[np.uint8]], out: NDArray[np.uint8]) -> None:
        """Cut a picture.

        Args:
            planes: uint8 (H, W) each, of contiguous pixels.
            out: uint8 (height, width, 3), contiguous; written to.
        """
        if NATIVE is None:
            out[...] = reference.cut(planes, self.axes, self.matrix)
            return
        planes = [
            # A tiny picture may have rows that end before the last group of neighbors.
            np.pad(plane, ((0, 0), (0, read))) if plane.strides[0] < read else plane
            for plane, read in zip(planes, self._read, strict=True)
        ]
        for place, plane in enumerate(planes):
            self._planes[place], self._strides[place] = plane.ctypes.data, plane.strides[0]
        NATIVE.cut(self._planes, self._strides, self._c_axes, self.matrix.ctypes, out.ctypes, self._room.ctypes)


def recolor(clip: Pixels, matrices: NDArray[np.float32]) -> None:
    """Mix the channels of a clip in place; matrices: float32 (T, 3, 4), from (R, G, B, 1)."""
    if NATIVE is None:
        clip[...] = reference.recolor(clip, matrices)
    else:
        NATIVE.recolor(clip.ctypes, matrices.ctypes, *_counts(clip))


def channel_sums(clip: Pixels) -> NDArray[np.int64]:
    """Return the sums of R, G and B of each frame, (T, 3); frames have at most 2^24 pixels."""
    sums = np.empty((len(clip), 3), np.int64)
    if NATIVE is None:
        clip.sum(axis=(1, 2), out=sums)
    else:
        NATIVE.sum(clip.ctypes, *_counts(clip), sums.ctypes)
    return sums


def gather(clip: Pixels, sources: NDArray[np.int32]) -> None:
    """Put the pixels that stand at `sources` in place; sources: int32 (H, W), counted row by row, -1 for black."""
    if NATIVE is None:
        clip[...] = reference.gather(clip, sources)
    else:
        NATIVE.gather(clip.ctypes, sources.ctypes, *_counts(clip), np.empty(3 * sources.size + 3, np.uint8).ctypes)


def blur(clip: Pixels, weights: NDArray[np.float32]) -> None:
    """Blur each frame in place: down, then across, reflected at the borders.

    weights: float32, of the middle and of each neighbor to one side.
    """
    _, height, width, _ = clip.shape
    reach = len(weights) - 1
    if NATIVE is None or reach >= min(height, width):  # then borders are reflected more than once
        clip[...] = reference.blur(clip, weights)
        return
    room = np.empty((height + 2 * reach + 2) * 3 * (width + 2 * reach), np.float32)
    NATIVE.blur(clip.ctypes, len(clip), height, width, weights.ctypes, reach, room.ctypes)


def paste(
    patch: NDArray[np.float32],
    at: NDArray[np.int32],
    share: NDArray[np.float32],
    opacity: float,
    below: NDArray[np.uint8],
) -> None:
    """Scale a patch to a box of a picture and blend it in: below + (patch - below) * mask * opacity, rounded.

    Args:
        patch: float32 (height, width, 4), the last channel a mask in 0..255.
        at, share: int32 and float32 (box height + box width,). Each row of the box, then each column, lies between
            row or column `at` of the patch and the next one, `share` of the way.
        opacity: times 1 / 255.
        below: uint8 (box height, box width, 3), rows contiguous; changed in place.
    """
    height, width, _ = below.shape
    if NATIVE is None:
        below[...] = reference.paste(patch, at, share, opacity, below)
        return
    room = np.empty(4 * patch.shape[1], np.float32)
    NATIVE.paste(
        *(patch.ctypes, patch.shape[1], at.ctypes, share.ctypes, height, width, len(patch) - 1),
        *(ctypes.c_float(opacity), below.ctypes, ctypes.c_int64(below.strides[0]), room.ctypes),
    )
