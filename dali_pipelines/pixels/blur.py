"""Gaussian blur."""

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

from dali_pipelines import kernels
from dali_pipelines.pixels.conditional import apply_where
from dali_pipelines.pixels.operation import ClipOperation, Nodes, Plan, Schema, View


class GaussianBlur(ClipOperation):
    """Blur every frame of a view; borders are reflected.

    Plan: `sigma`, float32 (views,), pixels. 0 leaves a view unchanged at no cost. The window extends 3 sigma, rounded
    up, to each side.
    """

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"sigma": ((views,), "float32")}

    def host(self, clip: NDArray[np.uint8], plan: Plan, view: View) -> None:
        if sigma := float(plan["sigma"][view.index]):
            kernels.blur(clip, _weights(sigma))

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        def blurred(clip: DataNode, sigma: DataNode) -> DataNode:
            return fn.gaussian_blur(clip, sigma=sigma)

        sigma = plan["sigma"][view.index]
        return apply_where(sigma > np.float32(0), clip, blurred, sigma)


def _weights(sigma: float) -> NDArray[np.float32]:
    """Return the weights of the center and of the neighbors on one side."""
    half = np.exp(-((np.arange(np.ceil(3 * sigma) + 1) / sigma) ** 2) / 2)
    weights: NDArray[np.float32] = (half / (2 * half.sum() - 1)).astype(np.float32)
    return weights
