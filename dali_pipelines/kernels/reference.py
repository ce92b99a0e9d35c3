"""The functions of kernels.c in NumPy, with the same order of sums, so results are bit-identical."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.kernels.axis import GROUP, Axis

Floats = NDArray[np.float32]


def cut(planes: Sequence[Any], axes: Sequence[Axis], matrix: Floats) -> NDArray[np.uint8]:
    """Return uint8 (height, width, 3); see `kernels.Cut`."""
    arrays = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in planes]
    parts = [_scaled(plane, *axes[2 * place : 2 * place + 2]) for place, plane in enumerate(arrays)]
    return _mixed(parts, matrix)


def recolor(clip: NDArray[np.uint8], colors: Floats) -> NDArray[np.uint8]:
    """Return a clip with mixed channels; see `kernels.recolor`."""
    frames = []
    for frame, color in zip(clip, colors, strict=True):
        sums, count = frame.sum(axis=(0, 1), dtype=np.uint32), frame.shape[0] * frame.shape[1]
        m0, m1, m2 = sums.astype(np.float32) / np.float32(count)
        offset = color[:, 6] + (color[:, 3] * m0 + color[:, 4] * m1 + color[:, 5] * m2)
        matrix = np.column_stack([color[:, :3], offset])
        frames.append(_mixed([*np.moveaxis(frame.astype(np.float32), -1, 0)], matrix))
    return np.stack(frames)


def gather(clip: NDArray[np.uint8], sources: NDArray[np.int32]) -> NDArray[np.uint8]:
    """Return a clip of gathered pixels; see `kernels.gather`."""
    pixels = np.pad(clip.reshape(len(clip), -1, 3), ((0, 0), (0, 1), (0, 0)))
    return pixels.take(sources, axis=1)


def blur(clip: NDArray[np.uint8], weights: Floats) -> NDArray[np.uint8]:
    """Return a blurred clip; see `kernels.blur`."""
    levels = clip.astype(np.float32)
    for axis in (1, 2):
        levels = _blurred(levels, weights, axis)
    return (levels + np.float32(0.5)).astype(np.uint8)


def paste(clip: NDArray[np.uint8], patch: Floats, boxes: NDArray[np.int32], opacity: Floats) -> NDArray[np.uint8]:
    """Return a clip with a patch blended in; see `kernels.paste`."""
    clip = clip.copy()
    for frame, (y, x, height, width), weight in zip(clip, boxes.tolist(), opacity, strict=True):
        if weight:
            below = frame[y : y + height, x : x + width]
            scaled = _stretched(_stretched(patch, height).swapaxes(0, 1), width).swapaxes(0, 1)
            below[...] = (scaled[..., :3] - below) * (scaled[..., 3:] * weight) + below + np.float32(0.5)
    return clip


def _scaled(plane: NDArray[np.uint8], y_axis: Axis, x_axis: Axis) -> Floats:
    (y, top), (x, left) = y_axis, x_axis
    part = plane[top + y.low : top + y.high, left + x.low : left + x.high].astype(np.float32)
    rows, out = np.zeros((len(part), x.size), np.float32), np.zeros((y.size, x.size), np.float32)
    for group, at in enumerate(x.at):
        weights = x.weight[GROUP * group :][:GROUP]
        # Pixels outside the part have no weight.
        taps = [w * part.take(at + (k - x.low), axis=1, mode="clip") for k, w in enumerate(weights)]
        rows += taps[0] + taps[1] + taps[2] + taps[3]
    for k, weight in enumerate(y.weight):
        out += weight[:, None] * rows.take(y.at[k // GROUP] + (k % GROUP - y.low), axis=0, mode="clip")
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


def _stretched(rows: Floats, made: int) -> Floats:
    length = len(rows)
    place = np.clip((np.arange(made) + 0.5) * (length / made) - 0.5, 0, length - 1)
    at = place.astype(int)
    share = (place - at).astype(np.float32)[:, None, None]
    first, second = rows[at], rows[np.minimum(at + 1, length - 1)]
    stretched: Floats = (second - first) * share + first
    return stretched
