"""Changes of color in NumPy: where PyAV decodes, in a quarter of what DALI's CPU operators take (bench/NOTES.md)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.plan.color_map import ColorMap
from dali_pipelines.store.scratch import scratch


def recolor(planes: Sequence[NDArray[np.uint8]], color: ColorMap | None, out: NDArray[np.uint8]) -> None:
    """What `graph.color.color_map` makes of one picture; with None as it is.

    Args:
        planes: R, G and B, (H, W) each.
        out: where the pixels go, (H, W, 3), rounded and clamped.

    ValueError when the sizes differ.
    """
    for channel, plane in enumerate(planes if color is None else _recolored(planes, color)):
        out[..., channel] = plane


def _recolored(planes: Sequence[NDArray[np.uint8]], color: ColorMap) -> NDArray[np.uint8]:
    height, width = planes[0].shape
    pixels, changed = (scratch(name, 3, height * width) for name in ("pixels", "changed"))
    np.stack(planes, out=pixels.reshape(3, height, width))
    moved = color.offset + np.float32(0.5)  # to round where astype cuts off
    if color.pivot.any():
        moved = moved + color.pivot @ (np.einsum("ij->i", pixels) / pixels.shape[1])
    # Not `@`: BLAS would start threads in each of the loader's processes.
    np.einsum("ij,jn->in", color.matrix, pixels, out=changed, casting="same_kind")
    changed += moved[:, None]
    return np.clip(changed, 0, 255, out=changed).astype(np.uint8).reshape(3, height, width)
