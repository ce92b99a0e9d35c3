"""The functions of kernels.c in NumPy, sum by sum in their order, so that the bits are the same."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.kernels.axis import GROUP, Axis

Floats = NDArray[np.float32]


def cut(planes: Sequence[NDArray[np.uint8]], axes: list[Axis], matrix: Floats) -> NDArray[np.uint8]:
    """Return uint8 (height, width, 3); see `kernels.Cut`."""
    parts = [_scaled(plane, *axes[2 * place : 2 * place + 2]) for place, plane in enumerate(planes)]
    return _mixed(parts, matrix)


def recolor(clip: NDArray[np.uint8], matrices: Floats) -> NDArray[np.uint8]:
    """Return a clip of mixed channels; see `kernels.recolor`."""
    return np.stack(
        [_mixed([*np.moveaxis(frame.astype(np.float32), -1, 0)], m) for frame, m in zip(clip, matrices, strict=True)]
    )


def gather(clip: NDArray[np.uint8], sources: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return a clip of pixels from elsewhere; see `kernels.gather`."""
    pixels = np.pad(clip.reshape(len(clip), -1, 3), ((0, 0), (0, 1), (0, 0)))
    return pixels.take(sources, axis=1)


def blur(clip: NDArray[np.uint8], weights: Floats) -> NDArray[np.uint8]:
    """Return a blurred clip; see `kernels.blur`."""
    levels = clip.astype(np.float32)
    for axis in (1, 2):
        levels = _blurred(levels, weights, axis)
    return (levels + np.float32(0.5)).astype(np.uint8)


def paste(
    patch: Floats, at: NDArray[np.int32], share: Floats, opacity: float, below: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """Return a box with a patch blended in; see `kernels.paste`."""
    height = len(below)
    patch = _between(patch, at[:height], share[:height, None, None])
    patch = _between(patch.swapaxes(0, 1), at[height:], share[height:, None, None]).swapaxes(0, 1)
    alpha = patch[..., 3:] * np.float32(opacity)
    return ((patch[..., :3] - below) * alpha + below + np.float32(0.5)).astype(np.uint8)


def _scaled(plane: NDArray[np.uint8], y: Axis, x: Axis) -> Floats:
    part = plane[y.low : y.high].astype(np.float32)
    rows, out = np.zeros((len(part), x.size), np.float32), np.zeros((y.size, x.size), np.float32)
    for group, at in enumerate(x.at):
        weights = x.weight[GROUP * group :][:GROUP]
        taps = [w * part.take(np.minimum(at + k, part.shape[1] - 1), axis=1) for k, w in enumerate(weights)]
        rows += taps[0] + taps[1] + taps[2] + taps[3]
    for k, weight in enumerate(y.weight):
        at = np.clip(y.at[k // GROUP] + (k % GROUP - y.low), 0, len(rows) - 1)
        out += weight[:, None] * rows.take(at, axis=0)
    return out


def _mixed(parts: list[Floats], matrix: Floats) -> NDArray[np.uint8]:
    a, b, c = parts
    out = np.empty((*a.shape, 3), np.uint8)
    for channel, (m0, m1, m2, m3) in enumerate(matrix):
        level = m0 * a + m1 * b + m2 * c + m3
        out[..., channel] = np.clip(level, 0, 255) + np.float32(0.5)
    return out


def _blurred(clip: Floats, weights: Floats, axis: int) -> Floats:
    reach, length = len(weights) - 1, clip.shape[axis]
    padded = np.pad(clip, [(reach, reach) if i == axis else (0, 0) for i in range(4)], mode="reflect")

    total: Floats = clip * weights[0]
    for steps, weight in enumerate(weights[1:], start=1):
        before, after = (padded.take(np.arange(length) + reach + d, axis=axis) for d in (-steps, steps))
        total += (before + after) * weight
    return total


def _between(rows: Floats, at: NDArray[np.int32], share: Floats) -> Floats:
    first, second = rows.take(at, axis=0), rows.take(np.minimum(at + 1, len(rows) - 1), axis=0)
    return (second - first) * share + first
