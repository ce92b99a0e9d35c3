"""Rotate square clips counter-clockwise about their center, and shift them. Pixels are copied, not interpolated."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from dali_pipelines import kernels
from dali_pipelines.pixels.conditional import apply_where
from dali_pipelines.pixels.operation import ClipOperation, Nodes, Operation, Plan, Schema, View


class Rotate(ClipOperation):
    """Rotate by any angle; uncovered corners are black. Plan: `degrees`, float32 (views,)."""

    geometric = True
    angle, unit = "degrees", 1  # the plan's array, and how many degrees one is

    def schema(self, *, views: int, frames: int) -> Schema:
        return {self.angle: ((views,), "float32")}

    def host(self, clip: NDArray[np.uint8], plan: Plan, view: View) -> None:
        if angle := float(plan[self.angle][view.index]):
            kernels.gather(clip, self.sources(clip.shape[1], angle))

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        def rotated(clip: DataNode, degrees: DataNode) -> DataNode:
            return fn.rotate(clip, angle=degrees, keep_size=True, interp_type=types.INTERP_NN, fill_value=0)

        degrees = plan[self.angle][view.index] * np.float32(self.unit)
        return apply_where(degrees != np.float32(0), clip, rotated, degrees)

    def sources(self, size: int, angle: float) -> NDArray[np.int32]:
        """Return the source position of each pixel, int32 (size, size), counted row by row; -1 where there is none."""
        middle = np.arange(size) + 0.5 - size / 2
        sine, cosine = np.sin(np.radians(angle)), np.cos(np.radians(angle))
        x = np.floor(middle * cosine - middle[:, None] * sine + size / 2).astype(np.int32)
        y = np.floor(middle * sine + middle[:, None] * cosine + size / 2).astype(np.int32)
        inside = (x >= 0) & (x < size) & (y >= 0) & (y < size)
        return np.where(inside, y * np.int32(size) + x, np.int32(-1))


class Rot90(Rotate):
    """Rotate by quarter turns, like NumPy's rot90. Plan: `rot90`, float32 (views,), number of turns."""

    angle, unit = "rot90", 90

    def sources(self, size: int, angle: float) -> NDArray[np.int32]:
        """Return the source position of each pixel, as in `Rotate`."""
        return _turned(size, int(angle))


class Translate(Operation):
    """Shift a view right and down, repeating the border pixels; DALI only.

    Plan: `shift`, float32 (views, 2), pixels.
    """

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"shift": ((views, 2), "float32")}

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        matrix = fn.transforms.translation(offset=plan["shift"][view.index])
        return fn.warp_affine(clip, matrix=matrix, inverse_map=False, interp_type=types.INTERP_NN)


@lru_cache(maxsize=8)
def _turned(size: int, turns: int) -> NDArray[np.int32]:
    return np.ascontiguousarray(np.rot90(np.arange(size * size, dtype=np.int32).reshape(size, size), turns))
