"""The whole way of a view whose frames share a crop: what most tasks do to their pixels."""

from nvidia.dali.data_node import DataNode

from dali_pipelines.graph.color import color_map, normalize
from dali_pipelines.graph.geometry import crop_resize


def view(frames: DataNode, plan: dict[str, DataNode], *, size: int) -> DataNode:
    """Decoded frames, uint8 (T, H, W, 3), to the normalized clip, float32 (T, size, size, 3).

    `plan` holds the arrays of `plan.views.view_arrays`.
    """
    return normalize(color_map(crop_resize(frames, plan, size=size), plan), size=size)
