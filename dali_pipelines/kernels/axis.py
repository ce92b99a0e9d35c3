"""Resampling along one axis: crop, scale with a filter as wide as the scale requires, and mirror."""

import ctypes
import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

GROUP = 4
"""Neighbors read at once."""
REMEMBERED = 2048
"""Filters cached per process, about 4 KB each: a task has a few box sizes, or a hundred."""


class CFilter(ctypes.Structure):
    """`Filter` in kernels.c."""

    _fields_ = (
        ("at", ctypes.c_void_p),
        ("weight", ctypes.c_void_p),
        ("groups", ctypes.c_int32),
        ("size", ctypes.c_int32),
        ("low", ctypes.c_int32),
        ("high", ctypes.c_int32),
    )


@dataclass(frozen=True, eq=False)
class Filter:
    """Weights for groups of `GROUP` neighbors, float32 (groups * GROUP, size).

    `at` is the first pixel of each group, int32 (groups, size); pixels from `low` to `high` have nonzero weights.
    """

    at: NDArray[np.int32]
    weight: NDArray[np.float32]
    low: int
    high: int

    @property
    def size(self) -> int:
        """Number of output pixels."""
        return int(self.at.shape[1])

    @cached_property
    def c(self) -> CFilter:
        """The filter as kernels.c takes it, valid as long as this object is."""
        return CFilter(self.at.ctypes.data, self.weight.ctypes.data, *self.at.shape, self.low, self.high)

    @cached_property
    def read(self) -> int:
        """The end of the last group that is read."""
        return int(self.at.max()) + GROUP


class Axis(NamedTuple):
    """A filter whose positions count from pixel `start`."""

    filter: Filter
    start: int


def axis(
    start: float, extent: float, size: int, *, low: int, high: int, cubic: bool = False, mirror: bool = False
) -> Axis:
    """Build the filter that makes `size` pixels from the `extent` at `start`, antialiased as in PIL.

    Pixel i covers i to i + 1. The filter is a triangle, or the cubic with a = -0.5, stretched by the scale if that is
    above 1; the weights within low..high sum to 1.
    """
    whole, beyond = math.floor(start), 2 + math.ceil(2 * max(extent / size, 1))  # no filter reaches further
    span = max(low - whole, -beyond), min(high - whole, math.ceil(extent) + beyond)
    return Axis(_filter(start - whole, extent, size, *span, cubic=cubic, mirror=mirror), whole)


@lru_cache(REMEMBERED)
def _filter(start: float, extent: float, size: int, low: int, high: int, *, cubic: bool, mirror: bool) -> Filter:
    scale = extent / size
    stretch = max(scale, 1.0)
    reach = (2.0 if cubic else 1.0) * stretch
    centers = start + (np.arange(size) + 0.5) * scale
    count = -(-math.ceil(2 * reach) // GROUP) * GROUP
    first = np.clip(np.floor(centers - reach - 0.5).astype(int) + 1, low, max(high - count, low))
    places = first + np.arange(count)[:, None]
    away = np.abs(places + 0.5 - centers) / stretch
    weight = _cubic(away) if cubic else np.maximum(0, 1 - away)
    weight[places >= high] = 0
    weight /= weight.sum(axis=0)
    used = places[weight != 0]
    order = slice(None, None, -1 if mirror else 1)
    at = np.array(places[::GROUP, order], np.int32)
    return Filter(at, np.array(weight[:, order], np.float32), int(used.min()), int(used.max()) + 1)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))
