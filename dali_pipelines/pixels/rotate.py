"""Rotate square clips counter-clockwise about their center, and shift them. Pixels are copied, not interpolated."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from dali_pipelines import kernels
from dali_pipelines.pixels.conditional import apply_where
from dali_pipelines.pixels.operation import ClipOperation, Nodes, Operation, Plan, Schema, View


class Rot90(ClipOperation):
    """Rotate by quarter turns, like NumPy's rot90. Plan: `rot90`, float32 (views,), number of turns."""

    geometric = True

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"rot90": ((views,), "float32")}

    def host(self, clip: NDArray[np.uint8], plan: Plan, view: View) -> None:
        if turns := int(plan["rot90"][view.index]):
            kernels.gather(clip, _turned(clip.shape[1], turns))

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        return _rotate(clip, plan["rot90"][view.index] * np.float32(90))


class Rotate(ClipOperation):
    """Rotate by any angle; uncovered corners are black. Plan: `degrees`, float32 (views,)."""

    geometric = True

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"degrees": ((views,), "float32")}

    def host(self, clip: NDArray[np.uint8], plan: Plan, view: View) -> None:
        if degrees := float(plan["degrees"][view.index]):
            kernels.gather(clip, _rotated(clip.shape[1], degrees))

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        return _rotate(clip, plan["degrees"][view.index] * np.float32(1))


class Translate(Operation):
    """Shift a view right and down, repeating the border pixels; DALI only.

    Plan: `shift`, float32 (views, 2), pixels.
    """

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"shift": ((views, 2), "float32")}

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        matrix = fn.transforms.translation(offset=plan["shift"][view.index])
        return fn.warp_affine(clip, matrix=matrix, inverse_map=False, interp_type=types.INTERP_NN)


def _rotate(clip: DataNode, degrees: DataNode) -> DataNode:
    def rotated(clip: DataNode, degrees: DataNode) -> DataNode:
        return fn.rotate(clip, angle=degrees, keep_size=True, interp_type=types.INTERP_NN, fill_value=0)

    return apply_where(degrees != np.float32(0), clip, rotated, degrees)


@lru_cache(maxsize=8)
def _turned(size: int, turns: int) -> NDArray[np.int32]:
    """Return the source position of each pixel, counted row by row."""
    return np.ascontiguousarray(np.rot90(np.arange(size * size, dtype=np.int32).reshape(size, size), turns))


def _rotated(size: int, degrees: float) -> NDArray[np.int32]:
    """Return the source positions for any angle, -1 where there is none."""
    middle = np.arange(size) + 0.5 - size / 2
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    x = np.floor(middle * cosine - middle[:, None] * sine + size / 2).astype(np.int32)
    y = np.floor(middle * sine + middle[:, None] * cosine + size / 2).astype(np.int32)
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    return np.where(inside, y * np.int32(size) + x, np.int32(-1))
