"""Color changes as one linear map of RGB and of the frame's mean, so any sequence of them costs one operator.

Brightness, contrast, saturation, hue and gray are each linear, hue approximately (`hue`). A sequence of them is the
product of their matrices, without the rounding and clamping that 8-bit pictures have in between.
tests/dali_pipelines/pixels/test_color_map.py states the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601
_YIQ = np.array([LUMA, [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_RGB = np.linalg.inv(_YIQ)
_EYE, _GRAY = np.eye(3), np.ones((3, 1)) * LUMA
_CHROMA, _TURN = np.diag([0, 1, 1]), np.array([[0, 0, 0], [0, 0, 1], [0, -1, 0]])

Number = float | np.ndarray
"""A scalar for one map, or (N,) for N maps."""


@dataclass(frozen=True, eq=False)
class ColorMap:
    """x -> matrix @ x + pivot @ m + offset for every pixel x of a frame with mean m; RGB in 0..255.

    Or N such maps, with a leading axis.
    """

    matrix: np.ndarray
    pivot: np.ndarray
    offset: np.ndarray

    def then(self, after: "ColorMap") -> "ColorMap":
        """Return this map followed by `after`; the mean of this map's result is its value at m."""
        return ColorMap(
            after.matrix @ self.matrix,
            after.matrix @ self.pivot + after.pivot @ (self.matrix + self.pivot),
            ((after.matrix + after.pivot) @ self.offset[..., None])[..., 0] + after.offset,
        )

    def split(self) -> list["ColorMap"]:
        """Split N maps into single ones."""
        return [ColorMap(*parts) for parts in zip(self.matrix, self.pivot, self.offset, strict=True)]


def _linear(matrix: np.ndarray) -> ColorMap:
    return ColorMap(matrix, np.zeros_like(matrix), np.zeros(matrix.shape[:-1]))


IDENTITY = _linear(_EYE)


def shift(levels: float) -> ColorMap:
    """Add gray levels."""
    return ColorMap(_EYE, np.zeros((3, 3)), np.full(3, float(levels)))


def gain(factor: Number) -> ColorMap:
    """Multiply: PIL's brightness, and the contrast about black of specs/ctp.md 0.3."""
    return _linear(np.multiply.outer(factor, _EYE))


def contrast(factor: Number) -> ColorMap:
    """Blend with the mean luma of the frame, like PIL."""
    own = gain(factor)
    return ColorMap(own.matrix, np.multiply.outer(1 - factor, _GRAY), own.offset)


def saturation(factor: Number) -> ColorMap:
    """Blend each pixel with its luma, like PIL. 0 is gray."""
    return _linear(np.multiply.outer(factor, _EYE) + np.multiply.outer(1 - factor, _GRAY))


def hue(degrees: Number) -> ColorMap:
    """Rotate the chroma plane of YIQ, as DALI does; PIL and OpenCV rotate the hue of HSV instead."""
    angle = np.radians(degrees)
    turned = np.multiply.outer(np.cos(angle), _CHROMA) + np.multiply.outer(np.sin(angle), _TURN)
    return _linear(_RGB @ (np.diag([1, 0, 0]) + turned) @ _YIQ)


def channel_gray(channel: int | np.ndarray) -> ColorMap:
    """Copy one of R, G and B to all three channels."""
    return _linear(np.repeat(_EYE[channel][..., None, :], 3, axis=-2))


def choose(maps: Sequence[ColorMap], which: np.ndarray) -> ColorMap:
    """Select a map for each of N frames by its index in `which`, int (N,); or K maps each, with (K, N)."""

    def chosen(parts: list[np.ndarray], axes: int) -> np.ndarray:
        of_frames = np.empty((len(maps), which.shape[-1], *[3] * axes))
        for place, part in enumerate(parts):
            of_frames[place] = part
        picked: np.ndarray = of_frames[which, np.arange(which.shape[-1])]
        return picked

    return ColorMap(
        chosen([m.matrix for m in maps], 2), chosen([m.pivot for m in maps], 2), chosen([m.offset for m in maps], 1)
    )


def compose(maps: Sequence[ColorMap]) -> ColorMap:
    """Compose maps, the first one applied first."""
    return reduce(ColorMap.then, maps, IDENTITY)
