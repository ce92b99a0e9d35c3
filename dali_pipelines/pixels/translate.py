"""Shifting clips by whole pixels."""

from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from dali_pipelines.pixels.operation import Nodes, Operation, Schema, View


class Translate(Operation):
    """Shift a view to the right and down; the pixels of the border repeat. DALI alone does it.

    Plan: `shift`, float32 (views, 2), pixels.
    """

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"shift": ((views, 2), "float32")}

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        matrix = fn.transforms.translation(offset=plan["shift"][view.index])
        return fn.warp_affine(clip, matrix=matrix, inverse_map=False, interp_type=types.INTERP_NN)
