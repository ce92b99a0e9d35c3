"""Rotating square clips, counter-clockwise about their center. Pixels are copied, none is mixed."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from dali_pipelines.decode.rgb import Planes
from dali_pipelines.pixels.conditional import apply_where
from dali_pipelines.pixels.operation import Nodes, Plan, PlaneOperation, Schema, View


class Rot90(PlaneOperation):
    """Rotate by quarter turns, as numpy's rot90. Plan: `rot90`, float32 (views,), how many."""

    geometric = True

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"rot90": ((views,), "float32")}

    def host(self, planes: Planes, plan: Plan, view: View, t: int) -> Planes:
        turns = int(plan["rot90"][view.index])
        return [np.rot90(plane, turns) for plane in planes] if turns else planes

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        return _rotate(clip, plan["rot90"][view.index] * np.float32(90))


class Rotate(PlaneOperation):
    """Rotate by any angle; corners that open are black. Plan: `degrees`, float32 (views,)."""

    geometric = True

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"degrees": ((views,), "float32")}

    def host(self, planes: Planes, plan: Plan, view: View, t: int) -> Planes:
        degrees = float(plan["degrees"][view.index])
        if not degrees:
            return planes
        sources = _sources(len(planes[0]), degrees)
        return [np.append(plane, np.uint8(0)).take(sources) for plane in planes]

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        return _rotate(clip, plan["degrees"][view.index] * np.float32(1))


def _rotate(clip: DataNode, degrees: DataNode) -> DataNode:
    def rotated(clip: DataNode, degrees: DataNode) -> DataNode:
        return fn.rotate(clip, angle=degrees, keep_size=True, interp_type=types.INTERP_NN, fill_value=0)

    return apply_where(degrees != np.float32(0), clip, rotated, degrees)


@lru_cache(maxsize=8)  # the frames of a view share it
def _sources(size: int, degrees: float) -> NDArray[np.intp]:
    """Return for each pixel the flat position of the one that lands on it, size * size where none does."""
    middle = np.arange(size) + 0.5 - size / 2
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    x = np.floor(middle * cosine - middle[:, None] * sine + size / 2).astype(int)
    y = np.floor(middle * sine + middle[:, None] * cosine + size / 2).astype(int)
    inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
    return np.where(inside, y * size + x, size * size)
