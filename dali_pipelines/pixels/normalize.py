"""Normalize pixels for the network: always in DALI, and always last."""

import numpy as np
from nvidia.dali.data_node import DataNode

from dali_pipelines.pixels.device import standardize

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
NORMALIZATIONS = {
    "imagenet": (MEAN, STD),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "kinetics": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
}
"""Name -> mean and standard deviation of R, G and B in 0..1; `half` maps 0..1 to -1..1, `kinetics` is torchvision's."""


def normalize(clips: DataNode, *, size: int, kind: str = "imagenet") -> DataNode:
    """Subtract a mean and divide by a standard deviation.

    Args:
        clips: uint8 (T, size, size, 3).
        kind: a name in NORMALIZATIONS.

    Returns:
        float32 (T, size, size, 3).
    """
    mean, deviation = (255 * np.array(values, np.float32) for values in NORMALIZATIONS[kind])
    return standardize(clips, mean, deviation, size=size)
