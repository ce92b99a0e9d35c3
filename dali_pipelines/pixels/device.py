"""All that depends on where a node lives. The other operators of the graphs are the same on both backends of DALI."""

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode


def to_device_of(node: DataNode, other: DataNode) -> DataNode:
    """Return `node` on the backend of `other`, as inputs of an operator and tensors of a batch must be.

    Arithmetic moves its operands by itself; named arguments stay on the CPU.
    """
    return node.gpu() if other.device == "gpu" and node.device == "cpu" else node


def standardize(clips: DataNode, mean: NDArray[np.float32], deviation: NDArray[np.float32], *, size: int) -> DataNode:
    """Subtract a mean and divide by a standard deviation, each float32 (3,).

    Both ways take the frames of a clip as one tall picture. On a GPU that is `crop_mirror_normalize` of HWC: its kernel
    for 8-bit pixels does not take sequences (`GetImplementationKind` in new_crop_mirror_normalize.cu of DALI 2.4). On a
    CPU `normalize` takes whole rows instead of pixels as the innermost axis, which is three times as fast.

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
