"""Operators that depend on a node's device. All others are the same on DALI's CPU and GPU backends."""

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode


def to_device_of(node: DataNode, other: DataNode) -> DataNode:
    """Move `node` to the device of `other`, as required for inputs of an operator and tensors of a batch.

    Arithmetic moves its operands itself; named arguments stay on the CPU.
    """
    return node.gpu() if other.device == "gpu" and node.device == "cpu" else node


def standardize(clips: DataNode, mean: NDArray[np.float32], deviation: NDArray[np.float32], *, size: int) -> DataNode:
    """Subtract a mean and divide by a standard deviation, each float32 (3,).

    Both backends treat the frames of a clip as one tall picture. On a GPU, `crop_mirror_normalize` gets HWC: its kernel
    for 8-bit pixels takes no sequences (`GetImplementationKind` in new_crop_mirror_normalize.cu of DALI 2.4). On a
    CPU, `normalize` with rows instead of pixels as the innermost axis is three times as fast.

    Args:
        clips: uint8 (T, size, size, 3).

    Returns:
        float32 (T, size, size, 3).
    """
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
