"""Convert decoded frames to RGB with FFmpeg, and make the matrix for planes converted elsewhere."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange
from numpy.typing import NDArray

from dali_pipelines.store.convert import Converter

PlaneArrays = Sequence[NDArray[np.uint8]]
"""The planes of a frame, uint8 (H, W) each."""


class RgbConverter:
    """Convert frames to planes of R, G and B by BT.601 whatever the tag says, honoring the range tag.

    Chroma is interpolated and centered as in DALI, whose CPU decoder gives bit-identical pixels.
    """

    def __init__(self) -> None:
        self._convert = gbr_converter()

    def __call__(self, frame: VideoFrame) -> PlaneArrays:
        """Return the planes. They are FFmpeg's memory, valid as long as they are referenced."""
        green, blue, red = plane_arrays(self._convert(frame))
        return red, green, blue


def gbr_converter() -> Converter:
    """Return a converter to planes of G, B and R: the values of packed RGB in a third of FFmpeg's time."""
    scale = "in_color_matrix=bt601:flags=bilinear+full_chroma_int+accurate_rnd"
    return Converter(("scale", scale), ("format", "gbrp"))


def plane_arrays(frame: VideoFrame) -> PlaneArrays:
    """Return the planes of an 8-bit frame as views of FFmpeg's memory."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    ]


def is_full_range(frame: VideoFrame) -> bool:
    """Tell whether levels go from 0 to 255: by the tag, or by FFmpeg's older format names such as yuvj420p."""
    return frame.format.name.startswith("yuvj") or frame.color_range == ColorRange.JPEG


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
