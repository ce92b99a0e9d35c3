"""Moving patches pasted in NumPy, into clips that are cut and colored beside their decoder."""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def paste_patches(clip: NDArray[np.uint8], plan: Mapping[str, np.ndarray]) -> None:
    """What `graph.paste` does, in place, rounding at every paste.

    Args:
        clip: uint8 (T, size, size, 3).
        plan: holds the arrays of `plan.patches.paste_arrays`.
    """
    rows = clip.reshape(*clip.shape[:2], -1)  # the channels side by side: NumPy is fast on long rows
    regions = zip(plan["patch_start"].tolist(), plan["patch_shape"].tolist(), plan["patch_mask"], strict=True)
    cuts = [  # of all patches, before anything is pasted
        np.dstack([clip[frame, y : y + height, x : x + width], mask[:height, :width]]).astype(np.float32)
        for (frame, y, x), (_, height, width), mask in regions
    ]
    for cut, boxes, opacities in zip(cuts, plan["patch_box"].tolist(), plan["patch_opacity"], strict=True):
        sized: dict[tuple[int, int], tuple[Image, Image]] = {}
        for frame, (y, x, height, width) in enumerate(boxes):
            if opacities[frame] == 0:
                continue
            if (height, width) not in sized:
                warped = _resized(cut, height, width)
                sized[height, width] = warped[..., :3].reshape(height, -1), warped[..., 3].repeat(3, axis=1)
            pixels, alpha = sized[height, width]
            below = rows[frame, y : y + height, 3 * x : 3 * (x + width)]
            blend = pixels - below
            blend *= alpha * opacities[frame]
            blend += below
            blend += np.float32(0.5)  # the cast cuts off
            below[...] = blend


def _resized(image: Image, height: int, width: int) -> Image:
    """Scales (H, W, 4) to (height, width, 4), bilinear between the centers of pixels; beyond those they repeat."""
    first, second, share = _neighbors(len(image), height)
    flat = image.reshape(len(image), -1)
    image = _between(flat.take(first, 0), flat.take(second, 0), share[:, None]).reshape(height, -1, 4)
    first, second, share = _neighbors(image.shape[1], width)
    left, right = (image.take(which, 1).reshape(height, -1) for which in (first, second))
    return _between(left, right, share.repeat(4)).reshape(height, width, 4)


def _between(first: Image, second: Image, share: Image) -> Image:
    second -= first
    second *= share
    second += first
    return second


@lru_cache(maxsize=4096)
def _neighbors(length: int, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Image]:
    """Of each of `size` pixels that `length` become: the two it lies between, and how far it is from the first."""
    place = np.clip((np.arange(size) + 0.5) * (length / size) - 0.5, 0, length - 1)
    first = place.astype(np.intp)
    return first, np.minimum(first + 1, length - 1), (place - first).astype(np.float32)
