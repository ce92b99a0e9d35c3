"""Regions of a picture, found and scaled independently of the project."""

import numpy as np
from PIL import Image


def nearest_even(start: float, length: float, side: int) -> tuple[int, int]:
    """Return the even start and end, within `side`, of the interval nearest in length, then in position."""
    lengths = np.arange(2, side + 1, 2)
    whole = int(lengths[np.abs(lengths - length).argmin()])
    starts = np.arange(0, side - whole + 1, 2)
    first = int(starts[np.abs(starts - start).argmin()])
    return first, first + whole


def scaled_part(
    frames: np.ndarray, rows: tuple[float, float], columns: tuple[float, float], size: int, *, cubic: bool = False
) -> np.ndarray:
    """Scale part of frames (T, H, W, C) to `size` x `size` with PIL, antialiased: float64, without rounding.

    Decreasing rows or columns mirror. Pixels next to the part contribute, as if the whole picture were scaled and then
    cropped.
    """
    kind = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    box = (min(columns), min(rows), max(columns), max(rows))
    planes = [
        np.asarray(Image.fromarray(plane.astype(np.float32)).resize((size, size), kind, box=box))
        for plane in np.moveaxis(frames, -1, 1).reshape(-1, *frames.shape[1:3])
    ]
    scaled = np.moveaxis(np.reshape(planes, (len(frames), -1, size, size)), 1, -1).astype(float)
    scaled = scaled[:, ::-1] if rows[0] > rows[1] else scaled
    return scaled[:, :, ::-1] if columns[0] > columns[1] else scaled


def smooth(frames: int, height: int, width: int) -> np.ndarray:
    """Return frames as smooth as photos, uint8 (frames, height, width, 3)."""
    few = np.random.default_rng(0).integers(0, 256, (frames, 7, 9, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(f).resize((width, height), Image.Resampling.BICUBIC)) for f in few])
