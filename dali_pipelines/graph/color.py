"""Color changes of a clip, and the numbers that a network reads."""

import numpy as np
from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from dali_pipelines.graph.device import standardize
from dali_pipelines.graph.some import change_some
from dali_pipelines.plan.color_map import MIXED, SCALED, WITH_MEAN, color_schema

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
NORMALIZATIONS = {
    "imagenet": (MEAN, STD),
    "half": ((0.5,) * 3, (0.5,) * 3),
    "kinetics": ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989)),
}
"""Name -> mean and standard deviation of R, G and B in 0..1; `half` maps 0..1 to -1..1, `kinetics` is torchvision's."""


def brightness_contrast(clips: DataNode, brightness: DataNode, contrast: DataNode) -> DataNode:
    """Adds to every frame, then multiplies it; clips where all is 0, or all is 1, do not pay for it.

    Args:
        clips: uint8 (T, H, W, 3).
        brightness: float32 (T,) on the CPU, gray levels.
        contrast: float32 (T,) on the CPU, factors of at least 0.

    Returns:
        uint8 (T, H, W, 3), rounded and clamped after the sum and after the product.
    """

    def shifted(clips: DataNode, shift: DataNode) -> DataNode:
        return fn.brightness_contrast(clips, brightness_shift=fn.per_frame(shift * np.float32(1 / 255)))

    def scaled(clips: DataNode, factor: DataNode) -> DataNode:
        return fn.brightness_contrast(clips, brightness=fn.per_frame(factor))

    clips = change_some(_largest(brightness) > np.float32(0), clips, shifted, brightness)
    return change_some(_largest(contrast - np.float32(1)) > np.float32(0), clips, scaled, contrast)


def _largest(values: DataNode) -> DataNode:
    return fn.reductions.max(math.abs(values))


def color_map(clips: DataNode, plan: dict[str, DataNode]) -> DataNode:
    """Applies one `plan.color_map.ColorMap` to every frame, by the cheapest operators that can; some need none.

    Args:
        clips: uint8 (T, H, W, 3).
        plan: holds the arrays of `plan.color_map.color_arrays`, on the CPU. A plan without them has frames whose
            colors are changed already (`store.recolor`).

    Returns:
        uint8 (T, H, W, 3), rounded and clamped.
    """
    if "color_kind" not in plan:
        return clips
    kind = fn.reductions.max(plan["color_kind"])
    matrix, offset, pivot = (plan[f"color_{part}"] for part in ("matrix", "offset", "pivot"))
    clips = change_some(kind == SCALED, clips, _scaled, matrix, offset)
    clips = change_some(kind == MIXED, clips, _mixed, matrix, offset)
    return change_some(kind == WITH_MEAN, clips, _with_mean, matrix, offset, pivot)


def colors_of_view(plan: dict[str, DataNode], view: int, length: int) -> dict[str, DataNode]:
    """The part of a plan's color arrays that `color_map` needs for one of several views of `length` frames each."""
    return {name: plan[name][view * length : (view + 1) * length] for name in color_schema(length) if name in plan}


def _scaled(clips: DataNode, matrix: DataNode, offset: DataNode) -> DataNode:
    """A factor and a shift for all channels."""
    factor, shift = fn.reshape(matrix[:, 0, 0], shape=[-1]), fn.reshape(offset[:, 0], shape=[-1])
    return fn.brightness_contrast(
        clips, brightness=fn.per_frame(factor), brightness_shift=fn.per_frame(shift * np.float32(1 / 255))
    )


def _mixed(clips: DataNode, matrix: DataNode, offset: DataNode) -> DataNode:
    return fn.coord_transform(clips, M=fn.per_frame(matrix), T=fn.per_frame(offset), dtype=types.UINT8)


def _with_mean(clips: DataNode, matrix: DataNode, offset: DataNode, pivot: DataNode) -> DataNode:
    means = fn.reshape(fn.reductions.mean(clips, axes=(1, 2), keep_dims=True), layout="FHWC")
    moved = fn.coord_transform(means, M=fn.per_frame(pivot), T=fn.per_frame(offset), dtype=types.FLOAT)
    # `moved` cannot be the argument T: on a GPU it depends on pixels there, and arguments live on the CPU.
    mapped = fn.coord_transform(clips, M=fn.per_frame(matrix), dtype=types.FLOAT)
    return fn.cast(mapped + moved, dtype=types.UINT8)


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
