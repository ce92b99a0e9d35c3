"""Scaling, cropping, mirroring and turning."""

from collections.abc import Callable

from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode


def crop_resize(frames: DataNode, start: DataNode, end: DataNode, *, size: int) -> DataNode:
    """Samples a source region onto `size` x `size` pixels.

    Args:
        frames: uint8 (T, H, W, 3).
        start, end: float32 (2,), the region's (y, x) in source pixels; start x > end x mirrors (plan.crops).

    Returns:
        uint8 (T, size, size, 3), bilinear without antialiasing as the originals scale (specs/ctp.md 0.3). It equals
        scaling the whole picture and cropping it, within a grey level.
    """
    return fn.resize(frames, size=[size, size], roi_start=start, roi_end=end, antialias=False)


def crop_box(frames: DataNode, start: DataNode, shape: DataNode, *, size: int, cubic: bool = False) -> DataNode:
    """Scales a box of whole pixels to `size` x `size`, antialiased like PIL; nothing outside the box is read.

    Args:
        frames: uint8 (T, H, W, 3).
        start, shape: int32 (2,), the box's (y, x) and (height, width). What lies outside the picture is black.
        cubic: bicubic instead of bilinear.

    Returns:
        uint8 (T, size, size, 3).
    """
    cut = fn.slice(frames, start=start, shape=shape, axes=(1, 2), out_of_bounds_policy="pad")
    return fn.resize(
        cut,
        size=[size, size],
        interp_type=types.INTERP_CUBIC if cubic else types.INTERP_LINEAR,
        antialias=True,
    )


def turn(clips: DataNode, degrees: DataNode) -> DataNode:
    """Turns square clips (T, size, size, C) counter-clockwise about their centre; corners that open are black.

    Pixels are copied, none is mixed: a multiple of 90 degrees is numpy's rot90, exactly.

    Args:
        degrees: float32 scalar.
    """
    return fn.rotate(clips, angle=degrees, keep_size=True, interp_type=types.INTERP_NN, fill_value=0)


def each_view(frames: DataNode, views: int, length: int, make: Callable[[DataNode, int], DataNode]) -> DataNode:
    """`make(view of `length` frames, its number)` for each of the views that stand one after the other in `frames`."""
    return fn.cat(*(make(frames[v * length : (v + 1) * length], v) for v in range(views)), axis=0)
