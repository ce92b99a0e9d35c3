"""Crop a region of each frame, scale it to a square and optionally mirror it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from dali_pipelines.decode.cut import Region
from dali_pipelines.decode.dali import MINIBATCH
from dali_pipelines.pixels.operation import Crop, Nodes, Plan, Schema, View
from dali_pipelines.plan.boxes import Box


@dataclass(frozen=True)
class _Scaled(Crop):
    """A crop that is scaled to `size` x `size`, antialiased like PIL: bilinear, or `cubic`."""

    size: int
    cubic: bool = False

    def _region(self, y: int, x: int, height: int, width: int, *, mirror: bool) -> Region:
        return Region(box=(y, x, height, width), size=self.size, mirror=mirror, cubic=self.cubic)

    def _resize(self, clip: DataNode, **region: Any) -> DataNode:
        kernel = types.INTERP_CUBIC if self.cubic else types.INTERP_LINEAR
        size = [self.size, self.size]
        return fn.resize(clip, size=size, interp_type=kernel, antialias=True, minibatch_size=MINIBATCH, **region)


@dataclass(frozen=True)
class CropResize(_Scaled):
    """Crop as if the whole picture were scaled first.

    CtP's code does not antialias (specs/ctp.md 0.3), so pictures that it shrinks a lot show aliasing.
    """

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"crop_start": ((views, 2), "float32"), "crop_end": ((views, 2), "float32")}

    @staticmethod
    def arrays(crops: Sequence[NDArray[np.float32]]) -> dict[str, np.ndarray]:
        """Return the plan's arrays for one crop per view, each float32 (2, 2) as in `plan.crops`."""
        start_end = np.stack(crops, axis=1)
        return {"crop_start": start_end[0], "crop_end": start_end[1]}

    def host(self, plan: Plan, view: View) -> Region:
        start, end = (plan[name][view.index].astype(int) for name in ("crop_start", "crop_end"))
        corner, extent = np.minimum(start, end).tolist(), np.abs(end - start).tolist()
        return self._region(*corner, *extent, mirror=bool(start[1] > end[1]))

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        start, end = (plan[name][view.index] for name in ("crop_start", "crop_end"))
        return self._resize(clip, roi_start=start, roi_end=end)


@dataclass(frozen=True)
class CropBox(_Scaled):
    """Cut out a box of whole pixels, scale and mirror it; read no pixel outside.

    Parts of a box outside the picture are black. `inside` promises that there are none; only DALI handles them.
    """

    inside: bool = True

    @property
    def on_host(self) -> bool:
        return self.inside

    def schema(self, *, views: int, frames: int) -> Schema:
        return {
            "box_start": ((views, 2), "int32"),
            "box_shape": ((views, 2), "int32"),
            "box_mirror": ((views,), "float32"),
        }

    @staticmethod
    def arrays(boxes: Sequence[Box], mirror: NDArray[np.bool_]) -> dict[str, np.ndarray]:
        """Return the plan's arrays for one box per view; mirror: bool (views,), left to right."""
        table = np.array(boxes, np.int32)
        return {"box_start": table[:, :2], "box_shape": table[:, 2:], "box_mirror": mirror.astype(np.float32)}

    def host(self, plan: Plan, view: View) -> Region:
        corner, extent = (plan[name][view.index].tolist() for name in ("box_start", "box_shape"))
        return self._region(*corner, *extent, mirror=bool(plan["box_mirror"][view.index] > 0))

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        start, shape, mirror = (plan[f"box_{part}"][view.index] for part in ("start", "shape", "mirror"))
        box = fn.slice(clip, start=start, shape=shape, axes=(1, 2), out_of_bounds_policy="pad")
        start, end = fn.stack(np.float32(0), mirror), fn.stack(np.float32(1), np.float32(1) - mirror)
        return self._resize(box, roi_start=start, roi_end=end, roi_relative=True)
