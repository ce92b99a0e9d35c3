"""Normalize pixels for the network: always in DALI, and always last."""

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
NORMALIZATIONS = {
    "imagenet": (MEAN, STD),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "kinetics": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
}
"""Name -> mean and standard deviation of R, G and B in 0..1; `half` maps 0..1 to -1..1, `kinetics` is torchvision's."""


def normalize(clips: DataNode, *, size: int, kind: str = "imagenet") -> DataNode:
    """Subtract a mean and divide by a standard deviation: uint8 (T, size, size, 3) to float32.

    `kind` is a name in NORMALIZATIONS. Both backends treat the frames of a clip as one tall picture. On a GPU,
    `crop_mirror_normalize` gets HWC: its kernel for 8-bit pixels takes no sequences (`GetImplementationKind` in
    new_crop_mirror_normalize.cu of DALI 2.4). On a CPU, `normalize` with rows instead of pixels as the innermost axis
    is three times as fast.
    """
    mean, deviation = (255 * np.array(values, np.float32) for values in NORMALIZATIONS[kind])
    if clips.device == "gpu":
        tall = fn.reshape(clips, shape=[-1, size, 3], layout="HWC")
        normal = fn.crop_mirror_normalize(
            tall, mean=mean.tolist(), std=deviation.tolist(), dtype=types.FLOAT, output_layout="HWC"
        )
    else:
        tall = fn.reshape(clips, shape=[-1, 3 * size], layout="HW")
        means, deviations = (types.Constant(np.tile(values, (1, size)), device="cpu") for values in (mean, deviation))
        normal = fn.normalize(tall, mean=means, stddev=deviations, axes=[0], dtype=types.FLOAT)
    return fn.reshape(normal, shape=[-1, size, size, 3], layout="FHWC")
