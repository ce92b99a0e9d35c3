"""How pixels along one axis are made of others: cut, scaled with a filter as wide as the scale asks for, mirrored."""

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

GROUP = 4
"""Neighbors that are read at once."""


class CAxis(ctypes.Structure):
    """`Axis` in kernels.c."""

    _fields_ = (
        ("at", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("groups", ctypes.c_int32),
        ("size", ctypes.c_int32),
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
    )


@dataclass(frozen=True, eq=False)
class Axis:
    """Weights for groups of `GROUP` neighbors.

    Attributes:
        at: int32 (groups, size), the first of each group.
        weight: float32 (groups * GROUP, size); 0 beyond `high`.
        low, high: the span of the pixels with a weight.
    """

    at: NDArray[np.int32]
    weight: NDArray[np.float32]
    low: int
    high: int

    @property
    def size(self) -> int:
        """Pixels that are made."""
        return int(self.at.shape[1])

    @property
    def c(self) -> CAxis:
        """Return it for kernels.c, valid as long as this is."""
        return CAxis(self.at.ctypes.data, self.weight.ctypes.data, *self.at.shape, self.low, self.high)


def axis(
    start: float, extent: float, size: int, *, low: int, high: int, cubic: bool = False, mirror: bool = False
) -> Axis:
    """Return how to make `size` pixels of the `extent` from `start` on, antialiased as in PIL.

    Pixel i covers i to i + 1. Its filter is a triangle, or the cubic with a = -0.5, as wide as the scale where that is
    above 1; the weights of those within low..high sum to 1.
    """
    scale = extent / size
    stretch = max(scale, 1.0)
    reach = (2.0 if cubic else 1.0) * stretch
    centers = start + (np.arange(size) + 0.5) * scale
    count = -(-int(np.ceil(2 * reach)) // GROUP) * GROUP
    first = np.clip(np.floor(centers - reach - 0.5).astype(np.int32) + 1, 0, max(high - count, 0))
    places = first + np.arange(count, dtype=np.int32)[:, None]
    away = np.abs(places + 0.5 - centers) / stretch
    weight = _cubic(away) if cubic else np.maximum(0, 1 - away)
    weight[(places < low) | (places >= high)] = 0
    weight /= weight.sum(axis=0)
    used = places[weight != 0]
    at = places[::GROUP]
    if mirror:
        at, weight = at[:, ::-1], weight[:, ::-1]
    return Axis(
        np.ascontiguousarray(at, np.int32),
        np.ascontiguousarray(weight, np.float32),
        int(used.min()),
        int(used.max()) + 1,
    )


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
