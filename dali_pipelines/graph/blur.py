"""Blurring some clips of a batch."""

import numpy as np
from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

from dali_pipelines.graph.some import change_some


def blur(clips: DataNode, plan: dict[str, DataNode], view: int) -> DataNode:
    """A Gaussian blur of every frame, (T, H, W, 3).

    Args:
        plan: holds `sigma`, float32 (views,) on the CPU, pixels; 0 leaves a clip as it is and costs nothing. The window
            is 3 sigma wide to each side. A plan without it has frames that are blurred already (`store.blur`).
    """
    if "sigma" not in plan:
        return clips
    sigma = plan["sigma"][view]

    def blurred(clips: DataNode, sigma: DataNode) -> DataNode:
        return fn.gaussian_blur(clips, sigma=sigma)

    return change_some(sigma > np.float32(0), clips, blurred, sigma)
