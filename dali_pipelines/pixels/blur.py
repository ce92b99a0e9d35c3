"""A Gaussian blur of some views."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

from dali_pipelines.pixels.buffers import buffer
from dali_pipelines.pixels.conditional import apply_where
from dali_pipelines.pixels.operation import ClipOperation, Nodes, Plan, Schema, View


class GaussianBlur(ClipOperation):
    """Blur every frame of a view; borders are reflected.

    Plan: `sigma`, float32 (views,), pixels. 0 leaves a view as it is and costs nothing. The window ends at 3 sigma,
    rounded up, to each side.
    """

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"sigma": ((views,), "float32")}

    def host(self, clip: NDArray[np.uint8], plan: Plan, view: View) -> None:
        if sigma := float(plan["sigma"][view.index]):
            for picture in clip:
                _blur(picture, sigma)

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        def blurred(clip: DataNode, sigma: DataNode) -> DataNode:
            return fn.gaussian_blur(clip, sigma=sigma)

        sigma = plan["sigma"][view.index]
        return apply_where(sigma > np.float32(0), clip, blurred, sigma)


def _blur(picture: NDArray[np.uint8], sigma: float) -> None:
    """Blur one frame, uint8 (H, W, 3), in place: first down, then across, the channels side by side."""
    weights = _weights(sigma)
    reach, (height, width, _) = len(weights) - 1, picture.shape
    rows = buffer("rows", height + 2 * reach, 3 * width)
    rows[:] = picture.reshape(height, -1).take(_reflected(height, reach), axis=0)
    down = _weighted([rows[i : i + height] for i in range(2 * reach + 1)], weights)
    wide = buffer("wide", height, width + 2 * reach, 3)
    down.reshape(height, width, 3).take(_reflected(width, reach), axis=1, out=wide, mode="clip")  # else it is buffered
    wide = wide.reshape(height, -1)
    across = _weighted([wide[:, 3 * i : 3 * (i + width)] for i in range(2 * reach + 1)], weights)
    across += np.float32(0.5)  # the cast cuts off
    picture.reshape(height, -1)[:] = across


def _weighted(shifted: list[NDArray[np.float32]], weights: list[np.float32]) -> NDArray[np.float32]:
    middle = len(weights) - 1
    total, pair = (buffer(name, *shifted[0].shape) for name in ("total", "pair"))
    np.multiply(shifted[middle], weights[0], out=total)
    for i, weight in enumerate(weights[1:], start=1):
        np.add(shifted[middle - i], shifted[middle + i], out=pair)
        pair *= weight
        total += pair
    return total


def _weights(sigma: float) -> list[np.float32]:
    """Return the weight of the middle and of each neighbor to one side."""
    half = np.exp(-((np.arange(np.ceil(3 * sigma) + 1) / sigma) ** 2) / 2)
    return list((half / (2 * half.sum() - 1)).astype(np.float32))


@lru_cache
def _reflected(length: int, reach: int) -> NDArray[np.intp]:
    """Return the positions of `length` pixels with `reach` more on each side, the border pixel not repeated."""
    return np.pad(np.arange(length), reach, mode="reflect")
