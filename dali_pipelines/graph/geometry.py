"""Scaling, cropping, mirroring and turning."""

from collections.abc import Callable, Sequence

import numpy as np
from nvidia.dali import fn, types
from nvidia.dali.data_node import DataNode

from dali_pipelines.graph.some import change_some

Plan = dict[str, DataNode]

FRAMES_AT_ONCE = 256
"""Frames that a kernel on a GPU scales at once; DALI's 32 are too few where a batch has a thousand and more."""


def crop_resize(frames: DataNode, plan: Plan, view: int | None = None, *, size: int) -> DataNode:
    """Scales a region to `size` x `size` pixels, bilinear and antialiased.

    The originals do not antialias (specs/ctp.md 0.3): pictures that they shrink a lot alias.

    Args:
        frames: uint8 (T, H, W, 3).
        plan: holds `crop_start` and `crop_end` of `plan.crops`, float32 (2,), or (views, 2) with `view`. A plan
            without them has frames that the decoder has cut and scaled already (`plan.cuts`).

    Returns:
        uint8 (T, size, size, 3).
    """
    if "crop_start" not in plan:
        return frames
    start, end = (plan[name] if view is None else plan[name][view] for name in ("crop_start", "crop_end"))
    return fn.resize(
        frames, size=[size, size], roi_start=start, roi_end=end, antialias=True, minibatch_size=FRAMES_AT_ONCE
    )


def crop_box(frames: DataNode, plan: Plan, view: int, *, size: int, cubic: bool = False) -> DataNode:
    """Scales a box of whole pixels to `size` x `size`, antialiased like PIL, and mirrors it; nothing outside is read.

    Args:
        frames: uint8 (T, H, W, 3).
        plan: holds the arrays of `plan.boxes.box_arrays`, of which `view` is used. What lies outside the picture is
            black. A plan without them has frames that the decoder has cut and scaled already (`plan.cuts`).
        cubic: bicubic instead of bilinear.

    Returns:
        uint8 (T, size, size, 3).
    """
    if "box_start" not in plan:
        return frames
    start, shape, mirror = (plan[f"box_{part}"][view] for part in ("start", "shape", "mirror"))
    cut = fn.slice(frames, start=start, shape=shape, axes=(1, 2), out_of_bounds_policy="pad")
    return fn.resize(
        cut,
        size=[size, size],
        roi_start=fn.stack(np.float32(0), mirror),
        roi_end=fn.stack(np.float32(1), np.float32(1) - mirror),
        roi_relative=True,
        interp_type=types.INTERP_CUBIC if cubic else types.INTERP_LINEAR,
        antialias=True,
        minibatch_size=FRAMES_AT_ONCE,
    )


def turn(clips: DataNode, plan: Plan, view: int) -> DataNode:
    """Turns square clips (T, size, size, C) counter-clockwise about their center, first by quarters.

    Pixels are copied, none is mixed, and a turn by 0 costs nothing. Quarters are numpy's rot90; otherwise corners open,
    which are black.

    Args:
        plan: holds `quarters` and perhaps `degrees`, float32 (views,). A plan without them has frames that are turned
            already (`plan.cuts`).
    """

    def turned(clips: DataNode, degrees: DataNode) -> DataNode:
        return fn.rotate(clips, angle=degrees, keep_size=True, interp_type=types.INTERP_NN, fill_value=0)

    for name, unit in (("quarters", 90), ("degrees", 1)):
        if name in plan:
            degrees = plan[name][view] * np.float32(unit)
            clips = change_some(degrees != np.float32(0), clips, turned, degrees)
    return clips


def each_view(frames: DataNode, lengths: Sequence[int], make: Callable[[DataNode, int], DataNode]) -> DataNode:
    """`make(view, its number)` for each view; they stand one after the other in `frames` and have `lengths` frames."""
    lasts = np.cumsum(lengths).tolist()
    views = [frames[last - length : last] for length, last in zip(lengths, lasts, strict=True)]
    made = [make(view, v) for v, view in enumerate(views)]
    # Views that the decoder's side has finished are not copied.
    return frames if all(new is old for new, old in zip(made, views, strict=True)) else fn.cat(*made, axis=0)
