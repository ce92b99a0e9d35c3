"""A Gaussian blur in NumPy, for pictures that are cut and colored beside their decoder."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.store.scratch import scratch


def blur(picture: NDArray[np.uint8], sigma: float) -> None:
    """What `graph.blur` does to one frame, uint8 (H, W, 3), in place.

    Args:
        sigma: pixels, above 0. The window ends at 3 sigma, rounded up; at the borders the picture is reflected.
    """
    weights = _weights(sigma)
    reach, (height, width, _) = len(weights) - 1, picture.shape
    rows = scratch("rows", height + 2 * reach, 3 * width)
    rows[:] = picture.reshape(height, -1).take(_reflected(height, reach), axis=0)
    down = _weighed([rows[i : i + height] for i in range(2 * reach + 1)], weights)
    wide = scratch("wide", height, width + 2 * reach, 3)
    down.reshape(height, width, 3).take(_reflected(width, reach), axis=1, out=wide, mode="clip")  # else it is buffered
    wide = wide.reshape(height, -1)
    across = _weighed([wide[:, 3 * i : 3 * (i + width)] for i in range(2 * reach + 1)], weights)
    across += np.float32(0.5)  # the cast cuts off
    picture.reshape(height, -1)[:] = across


def _weighed(shifted: list[NDArray[np.float32]], weights: list[np.float32]) -> NDArray[np.float32]:
    middle = len(weights) - 1
    total, pair = (scratch(name, *shifted[0].shape) for name in ("total", "pair"))
    np.multiply(shifted[middle], weights[0], out=total)
    for i, weight in enumerate(weights[1:], start=1):
        np.add(shifted[middle - i], shifted[middle + i], out=pair)
        pair *= weight
        total += pair
    return total


def _weights(sigma: float) -> list[np.float32]:
    """Of the middle and of each neighbor to one side."""
    half = np.exp(-((np.arange(np.ceil(3 * sigma) + 1) / sigma) ** 2) / 2)
    return list((half / (2 * half.sum() - 1)).astype(np.float32))


@lru_cache
def _reflected(length: int, reach: int) -> NDArray[np.intp]:
    """The places of `length` pixels with `reach` more on each side, the one at the border not repeated."""
    return np.pad(np.arange(length), reach, mode="reflect")
