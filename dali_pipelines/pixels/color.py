"""Color changes: one linear map of RGB per frame, and CtP's brightness and contrast, which clamp in between."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from dali_pipelines import kernels
from dali_pipelines.pixels.conditional import apply_where
from dali_pipelines.pixels.operation import ClipOperation, Nodes, Plan, Schema, View
from dali_pipelines.plan.color_map import ColorMap

SCALED, MIXED, WITH_MEAN = 1, 2, 3
"""Kinds of maps: one factor and shift for all channels; a matrix and an offset; both plus the frame's mean."""


class Recolor(ClipOperation):
    """Apply a `plan.color_map.ColorMap` to each frame, rounded and clamped; identity maps cost nothing."""

    def schema(self, *, views: int, frames: int) -> Schema:
        return {
            "color_kind": ((frames,), "uint8"),
            "color_matrix": ((frames, 3, 3), "float32"),
            "color_pivot": ((frames, 3, 3), "float32"),
            "color_offset": ((frames, 3), "float32"),
        }

    @staticmethod
    def arrays(maps: Sequence[ColorMap]) -> dict[str, np.ndarray]:
        """Return the plan's arrays for one map per frame, with the views concatenated."""
        distinct = {id(m): m for m in maps}  # usually one for all frames
        matrices, pivots, offsets = (
            np.array([getattr(m, part) for m in distinct.values()], np.float32)
            for part in ("matrix", "pivot", "offset")
        )
        eye = np.eye(3, dtype=np.float32)
        kinds = [
            pivots.any(axis=(1, 2)),
            (matrices != matrices[:, :1, :1] * eye).any(axis=(1, 2)) | (offsets != offsets[:, :1]).any(axis=1),
            (matrices != eye).any(axis=(1, 2)) | offsets.any(axis=1),
        ]
        places = list(distinct)
        of_frames = [places.index(id(m)) for m in maps]
        return {
            "color_kind": np.select(kinds, [WITH_MEAN, MIXED, SCALED]).astype(np.uint8)[of_frames],
            "color_matrix": matrices[of_frames],
            "color_pivot": pivots[of_frames],
            "color_offset": offsets[of_frames],
        }

    def host(self, clip: NDArray[np.uint8], plan: Plan, view: View) -> None:
        kinds, matrix, pivot, offset = (
            plan[f"color_{part}"][view.places] for part in ("kind", "matrix", "pivot", "offset")
        )
        if kinds.any():
            kernels.recolor(clip, np.concatenate([matrix, pivot, offset[:, :, None]], axis=2))

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        """Apply the maps with the cheapest sufficient operators; the most general map decides for all frames."""
        kinds, matrix, offset, pivot = (
            view.frames(plan[f"color_{part}"]) for part in ("kind", "matrix", "offset", "pivot")
        )
        kind = fn.reductions.max(kinds)
        clip = apply_where(kind == SCALED, clip, _scaled, matrix, offset)
        clip = apply_where(kind == MIXED, clip, _mixed, matrix, offset)
        return apply_where(kind == WITH_MEAN, clip, _with_mean, matrix, offset, pivot)


def _scaled(clip: DataNode, matrix: DataNode, offset: DataNode) -> DataNode:
    factor, shift = fn.reshape(matrix[:, 0, 0], shape=[-1]), fn.reshape(offset[:, 0], shape=[-1])
    return fn.brightness_contrast(
        clip, brightness=fn.per_frame(factor), brightness_shift=fn.per_frame(shift * np.float32(1 / 255))
    )


def _mixed(clip: DataNode, matrix: DataNode, offset: DataNode) -> DataNode:
    return fn.coord_transform(clip, M=fn.per_frame(matrix), T=fn.per_frame(offset), dtype=types.UINT8)


def _with_mean(clip: DataNode, matrix: DataNode, offset: DataNode, pivot: DataNode) -> DataNode:
    means = fn.reshape(fn.reductions.mean(clip, axes=(1, 2), keep_dims=True), layout="FHWC")
    moved = fn.coord_transform(means, M=fn.per_frame(pivot), T=fn.per_frame(offset), dtype=types.FLOAT)
    # `moved` cannot be the argument T: on a GPU it is computed there from pixels, and arguments must be on the CPU.
    mapped = fn.coord_transform(clip, M=fn.per_frame(matrix), dtype=types.FLOAT)
    return fn.cast(mapped + moved, dtype=types.UINT8)


class BrightnessContrast(ClipOperation):
    """Add a brightness to every frame, then multiply by a contrast, rounding and clamping after each.

    Plan: `brightness`, float32 (T,), gray levels, and `contrast`, float32 (T,), factors of at least 0. A step costs
    nothing if all its values are 0, or 1 for the contrast.
    """

    def schema(self, *, views: int, frames: int) -> Schema:
        return {"brightness": ((frames,), "float32"), "contrast": ((frames,), "float32")}

    def host(self, clip: NDArray[np.uint8], plan: Plan, view: View) -> None:
        shifts, factors = (plan[name][view.places] for name in ("brightness", "contrast"))
        for changes, factor, offset in ((shifts != 0, 1, shifts), (factors != 1, factors, 0)):
            if changes.any():
                colors = np.zeros((len(clip), 3, 7), np.float32)
                colors[:, range(3), range(3)] = np.reshape(factor, (-1, 1))
                colors[:, :, 6] = np.reshape(offset, (-1, 1))
                kernels.recolor(clip, colors)

    def dali(self, clip: DataNode, plan: Nodes, view: View) -> DataNode:
        def shifted(clip: DataNode, shift: DataNode) -> DataNode:
            return fn.brightness_contrast(clip, brightness_shift=fn.per_frame(shift * np.float32(1 / 255)))

        def scaled(clip: DataNode, factor: DataNode) -> DataNode:
            return fn.brightness_contrast(clip, brightness=fn.per_frame(factor))

        brightness, contrast = (view.frames(plan[name]) for name in ("brightness", "contrast"))
        clip = apply_where(_largest(brightness) > np.float32(0), clip, shifted, brightness)
        return apply_where(_largest(contrast - np.float32(1)) > np.float32(0), clip, scaled, contrast)


def _largest(values: DataNode) -> DataNode:
    return fn.reductions.max(math.abs(values))
