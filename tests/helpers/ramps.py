"""Frames whose pixels encode their position and time, and the crops and colors to expect of them."""

import numpy as np

from dali_pipelines.pixels.normalize import MEAN, STD


def ramp(numbers: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return frames with red = column, green = row, blue = 2 * frame number; bilinear sampling is exact."""
    frames = np.zeros((len(numbers), height, width, 3), np.uint8)
    frames[..., 0], frames[..., 1] = np.arange(width), np.arange(height)[:, None]
    frames[..., 2] = 2 * numbers[:, None, None]
    return frames


def ramp_view(numbers: np.ndarray, start: np.ndarray, end: np.ndarray, size: int) -> np.ndarray:
    """Return a crop of `ramp` in closed form, (T, size, size, 3) in 0..255."""
    y, x = (start + (np.arange(size)[:, None] + 0.5) * (end - start) / size - 0.5).T
    picture = np.zeros((len(numbers), size, size, 3))
    picture[..., 0], picture[..., 1], picture[..., 2] = x, y[:, None], 2 * numbers[:, None, None]
    return picture


def recolored(frames: np.ndarray, plan: dict[str, np.ndarray]) -> np.ndarray:
    """Apply the plan's colors and ImageNet's normalization, one pixel formula at a time."""
    means = frames.mean((1, 2), keepdims=True)
    matrix, pivot, offset = (plan[f"color_{name}"][:, None, None] for name in ("matrix", "pivot", "offset"))
    mapped = np.einsum("...ij,...j->...i", matrix, frames) + np.einsum("...ij,...j->...i", pivot, means) + offset
    return (mapped.clip(0, 255) / 255 - MEAN) / STD
