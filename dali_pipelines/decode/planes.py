"""A clip decoded to planes of Y, Cb and Cr, which a GPU turns to RGB: half the bytes, and no work for raw video."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from dali_pipelines.decode.frames import decode_each
from dali_pipelines.decode.rgb import plane_arrays
from dali_pipelines.store.reader import EncodedClip

PLANAR = frozenset({"yuv420p", "yuvj420p"})
"""FFmpeg's names of 8-bit 4:2:0, of limited and of full range; NVDEC takes no other either."""


class Planes(NamedTuple):
    """The frames of a clip, T of them.

    luma: uint8 (T, H, W, 1). chroma: uint8 (T, 2, H/2, W/2), Cb and Cr.
    matrix: float32 (3, 4), from (Y, Cb, Cr, 1) to RGB.
    """

    luma: NDArray[np.uint8]
    chroma: NDArray[np.uint8]
    matrix: NDArray[np.float32]


def decode_planes(clip: EncodedClip) -> Planes:
    """Decode a clip of 8-bit 4:2:0 video with FFmpeg in one thread, frames in rising order, none twice.

    Raises:
        ClipError: a wanted frame does not decode, or has another size or format than the first.
    """
    places = {number: place for place, number in enumerate(clip.frames.tolist())}
    planes: list[Planes] = []  # empty until the first frame tells the size

    def show(number: int, frame: VideoFrame) -> None:
        if not planes:
            planes.append(_empty(len(places), frame))
        place, (luma, chroma, _) = places[number], planes[0]
        for target, plane in zip((luma[place, ..., 0], *chroma[place]), plane_arrays(frame), strict=True):
            target[...] = plane  # ValueError for a frame of another size

    decode_each(clip, places, show)
    return planes[0]


@lru_cache
def rgb_matrix(*, full_range: bool) -> NDArray[np.float32]:
    """Return the matrix of ITU-R BT.601 from (Y, Cb, Cr, 1) in 0..255 to RGB, float32 (3, 4)."""
    red, blue = 0.299, 0.114
    green = 1 - red - blue
    cr, cb = 2 * (1 - red), 2 * (1 - blue)
    matrix = np.array([[1, 0, cr], [1, -cb * blue / green, -cr * red / green], [1, cb, 0]])
    black = np.array([0.0, 128.0, 128.0])
    if not full_range:
        matrix = matrix * 255 / np.array([219, 224, 224])
        black[0] = 16
    return np.column_stack([matrix, -matrix @ black]).astype(np.float32)


def _empty(count: int, frame: VideoFrame) -> Planes:
    if frame.format.name not in PLANAR or frame.width % 2 or frame.height % 2:
        raise ValueError(f"{frame.format.name} frames of {frame.width}x{frame.height} are no whole 4:2:0 planes")
    full = frame.format.name == "yuvj420p" or frame.color_range == ColorRange.JPEG
    return Planes(
        np.empty((count, frame.height, frame.width, 1), np.uint8),
        np.empty((count, 2, frame.height // 2, frame.width // 2), np.uint8),
        rgb_matrix(full_range=full),
    )
