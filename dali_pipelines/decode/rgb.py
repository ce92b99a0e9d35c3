"""Decoded frames to RGB, whole."""

from collections.abc import Sequence

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from dali_pipelines.store.convert import Converter

Planes = Sequence[NDArray[np.uint8]]
"""The planes of a frame, uint8 (H, W) each."""


class RgbConverter:
    """Convert frames to planes of R, G and B by BT.601 whatever the tag says, honoring the range tag.

    Chroma is interpolated and centered, as DALI does it: its CPU decoder gives the same pixels to the bit.
    """

    def __init__(self) -> None:
        self._convert = gbr_converter()

    def __call__(self, frame: VideoFrame) -> Planes:
        """Return the planes; they are FFmpeg's memory, valid until they are dropped."""
        green, blue, red = plane_arrays(self._convert(frame))
        return red, green, blue


def gbr_converter() -> Converter:
    """Return a converter to planes of G, B and R: a third of the time of packed RGB in FFmpeg, and the same values."""
    scale = "in_color_matrix=bt601:flags=bilinear+full_chroma_int+accurate_rnd"
    return Converter(("scale", scale), ("format", "gbrp"))


def plane_arrays(frame: VideoFrame) -> Planes:
    """Return the planes of an 8-bit frame, of FFmpeg's memory."""
    return [
        np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        for plane in frame.planes
    ]
