"""Scaling, cropping and mirroring in one pass over the pixels."""

from nvidia.dali import fn
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
