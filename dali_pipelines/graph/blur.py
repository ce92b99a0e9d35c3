"""Blurring some clips of a batch."""

import numpy as np
from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

from dali_pipelines.graph.some import change_some


def blur(clips: DataNode, sigma: DataNode) -> DataNode:
    """A Gaussian blur of every frame, (T, H, W, 3).

    Args:
        sigma: float32 scalar on the CPU, pixels; 0 leaves the clip as it is and costs nothing. The window is 3 sigma
            wide to each side.
    """

    def blurred(clips: DataNode, sigma: DataNode) -> DataNode:
        return fn.gaussian_blur(clips, sigma=sigma)

    return change_some(sigma > np.float32(0), clips, blurred, sigma)
