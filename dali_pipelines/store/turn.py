"""Turns in NumPy, for pictures that are cut and colored beside their decoder."""

import numpy as np
from numpy.typing import NDArray


class Turn:
    """What `graph.geometry.turn` does to one channel of a picture, uint8 (size, size).

    Args:
        quarters, degrees: counter-clockwise, about the center. Corners that the degrees open are black.
    """

    def __init__(self, size: int, quarters: int, degrees: float) -> None:
        self.quarters = quarters
        self._sources = _sources(size, degrees) if degrees else None

    def __call__(self, plane: NDArray[np.uint8]) -> NDArray[np.uint8]:
        turned = np.rot90(plane, self.quarters) if self.quarters else plane
        return turned if self._sources is None else np.append(turned, np.uint8(0)).take(self._sources)


def _sources(size: int, degrees: float) -> NDArray[np.intp]:
    """For each pixel the place, in rows one after the other, of the one that lands on it; behind the last for none."""
    middle = np.arange(size) + 0.5 - size / 2
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    x = np.floor(middle * cosine - middle[:, None] * sine + size / 2).astype(int)
    y = np.floor(middle * sine + middle[:, None] * cosine + size / 2).astype(int)
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    return np.where(inside, y * size + x, size * size)
