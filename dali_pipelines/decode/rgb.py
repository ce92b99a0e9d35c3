"""Decoded frames to RGB: whole, or a region of them cut out, scaled and mirrored before any other pixel becomes RGB."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from dali_pipelines.store.convert import Converter, Filter

Planes = Sequence[NDArray[np.uint8]]
"""R, G and B of a frame, uint8 (H, W) each."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of a picture, scaled to a square.

    Attributes:
        box: y, x, height, width in pixels of the source picture.
        size: side of the square, pixels.
        mirror: left to right, after scaling.
        cubic: bicubic instead of bilinear; both are antialiased.
    """

    box: tuple[int, int, int, int]
    size: int
    mirror: bool = False
    cubic: bool = False


class RgbConverter:
    """Convert frames to planes of R, G and B by BT.601 whatever the tag says, honoring the range tag.

    Chroma is interpolated and centered, as DALI does it: its CPU decoder gives the same pixels to the bit.

    Args:
        region: what to cut out. Luma and chroma are scaled on their own, within a few gray levels of `pixels.crop` on
            RGB (tests/dali_pipelines/pixels/test_program.py states it).
    """

    def __init__(self, region: Region | None = None) -> None:
        first: list[Filter] = []
        size, kind = "", "bilinear"
        if region:
            y, x, height, width = region.box
            if any(number % 2 for number in region.box):  # begins or ends between two samples of 4:2:0 chroma
                left, top = x - x % 2, y - y % 2
                right, bottom = x + width + (x + width) % 2, y + height + (y + height) % 2
                around = f"min({right},iw)-{left}:min({bottom},ih)-{top}:{left}:{top}"
                first.append(("crop", f"{around}:exact=1"))
                first += [("scale", "flags=bilinear+accurate_rnd"), ("format", "yuv444p")]
                y, x = y % 2, x % 2
            first.append(("crop", f"{width}:{height}:{x}:{y}:exact=1"))
            if region.mirror:
                first.append(("hflip", ""))
            size = f"{region.size}:{region.size}:"
            if region.cubic:
                size, kind = f"{size}param0=0:param1=0.5:", "bicubic"  # DALI's and PIL's cubic
        scale = f"{size}in_color_matrix=bt601:flags={kind}+full_chroma_int+accurate_rnd"
        # FFmpeg makes planes of G, B and R in a third of the time of packed RGB, of the same values.
        self._convert = Converter(*first, ("scale", scale), ("format", "gbrp"))

    def __call__(self, frame: VideoFrame) -> Planes:
        """Return the planes; they are FFmpeg's memory, valid until they are dropped."""
        green, blue, red = (
            np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
            for plane in self._convert(frame).planes
        )
        return red, green, blue
