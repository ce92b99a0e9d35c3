"""Crop, scale and mirror a part of a decoded frame in Y, Cb and Cr, then convert it to RGB."""

from dataclasses import dataclass

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from dali_pipelines.decode.rgb import gbr_converter, is_full_range, rgb_matrix
from dali_pipelines.kernels import Cut
from dali_pipelines.kernels.axis import Axis, axis

ONE = (1, 1)
SUBSAMPLED = {"420": (2, 2), "422": (1, 2), "444": ONE}
"""Rows and columns of luma per sample of chroma."""
FORMATS = {f"yuv{full}{kind}p": steps for kind, steps in SUBSAMPLED.items() for full in ("", "j")}
"""The same, by FFmpeg's names of the formats whose planes are cut without conversion."""

FROM_GBR = np.ascontiguousarray(np.eye(3, 4, dtype=np.float32)[:, [1, 2, 0, 3]])


@dataclass(frozen=True, kw_only=True)
class Region:
    """A part of a picture, scaled to a square.

    Attributes:
        box: y, x, height, width in pixels of the source picture.
        size: side of the square, pixels.
        mirror: left to right, after scaling.
        cubic: bicubic instead of bilinear; both are antialiased, as in PIL.
    """

    box: tuple[int, int, int, int]
    size: int
    mirror: bool = False
    cubic: bool = False


class Cutter:
    """Cut one region out of frames; BT.601 whatever the tag says, the range tag is honored.

    Luma and centered chroma are scaled separately, so rounding to RGB comes last. Luma outside the box is not read;
    chroma is, as if the whole frame had been converted to RGB first.
    """

    def __init__(self, region: Region) -> None:
        self.region = region
        self._to_gbr = gbr_converter()
        self._kind: tuple[object, ...] = ()
        self._cut: Cut

    def __call__(self, frame: VideoFrame, out: NDArray[np.uint8]) -> None:
        """Write the region to `out`, uint8 (size, size, 3); ValueError if the frame is too small for it."""
        if frame.format.name not in FORMATS:
            frame = self._to_gbr(frame)
        planes = frame.planes
        strides = [plane.line_size for plane in planes]
        kind = frame.width, frame.height, frame.format.name, frame.color_range, strides
        if kind != self._kind:
            self._cut, self._kind = self._made(frame, strides), kind
        self._cut(planes, out)

    def _made(self, frame: VideoFrame, strides: list[int]) -> Cut:
        y, x, height, width = self.region.box
        if not (0 <= y < y + height <= frame.height and 0 <= x < x + width <= frame.width):
            raise ValueError(
                f"a box of {width}x{height} at ({x}, {y}) does not fit into a frame of {frame.width}x{frame.height}"
            )
        if frame.format.name not in FORMATS:
            return Cut(self._axes(frame) * 3, strides, FROM_GBR)
        chroma = self._axes(frame, FORMATS[frame.format.name])
        return Cut(self._axes(frame) + chroma * 2, strides, rgb_matrix(full_range=is_full_range(frame)))

    def _axes(self, frame: VideoFrame, steps: tuple[int, int] | None = None) -> list[Axis]:
        """Return the y and x axes of luma or of G, B and R; with `steps` (see SUBSAMPLED), those of chroma."""
        y, x, height, width = self.region.box
        axes = []
        for start, extent, side, step, mirror in (
            (y, height, frame.height, (steps or ONE)[0], False),
            (x, width, frame.width, (steps or ONE)[1], self.region.mirror),
        ):
            low, high = (0, -(-side // step)) if steps else (start, start + extent)
            place = start / step, extent / step, self.region.size
            axes.append(axis(*place, low=low, high=high, cubic=self.region.cubic, mirror=mirror))
        return axes
