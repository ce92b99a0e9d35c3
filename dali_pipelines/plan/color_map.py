"""Color changes as one linear map of RGB and of the frame's mean, so that any order of them costs one operator.

Brightness, contrast, saturation, hue and gray are each linear, hue approximately (`hue`). A series of them is the
product of their matrices; what is lost are the roundings and clamps between them, which 8-bit pictures have.
tests/dali_pipelines/pixels/test_color_map.py states the difference.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601
_YIQ = np.array([LUMA, [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_RGB = np.linalg.inv(_YIQ)
_EYE, _GRAY = np.eye(3), np.ones((3, 1)) * LUMA
_CHROMA, _TURN = np.diag([0, 1, 1]), np.array([[0, 0, 0], [0, 0, 1], [0, -1, 0]])

SCALED, MIXED, WITH_MEAN = 1, 2, 3
"""What a map is: one factor and shift for all channels, a matrix and an offset, or these and the frame's mean."""

Number = float | np.ndarray
"""Of one map, or (N,) of as many."""


@dataclass(frozen=True)
class ColorMap:
    """x -> matrix @ x + pivot @ m + offset for every pixel x of a frame with mean m; RGB in 0..255.

    Or N such maps, with a leading axis.
    """

    matrix: np.ndarray
    pivot: np.ndarray
    offset: np.ndarray

    def then(self, after: "ColorMap") -> "ColorMap":
        """This map, and `after` on its result, whose mean is the map's own value at m."""
        return ColorMap(
            after.matrix @ self.matrix,
            after.matrix @ self.pivot + after.pivot @ (self.matrix + self.pivot),
            ((after.matrix + after.pivot) @ self.offset[..., None])[..., 0] + after.offset,
        )

    def split(self) -> list["ColorMap"]:
        """N maps one by one."""
        return [ColorMap(*parts) for parts in zip(self.matrix, self.pivot, self.offset, strict=True)]


def _linear(matrix: np.ndarray) -> ColorMap:
    return ColorMap(matrix, np.zeros_like(matrix), np.zeros(matrix.shape[:-1]))


IDENTITY = _linear(_EYE)


def shift(levels: float) -> ColorMap:
    """Adds gray levels."""
    return ColorMap(_EYE, np.zeros((3, 3)), np.full(3, float(levels)))


def gain(factor: Number) -> ColorMap:
    """Multiplies: PIL's brightness, and the contrast about black of specs/ctp.md 0.3."""
    return _linear(np.multiply.outer(factor, _EYE))


def contrast(factor: Number) -> ColorMap:
    """Blends with the mean luma of the frame, as PIL."""
    own = gain(factor)
    return ColorMap(own.matrix, np.multiply.outer(1 - factor, _GRAY), own.offset)


def saturation(factor: Number) -> ColorMap:
    """Blends each pixel with its luma, as PIL. 0 is gray."""
    return _linear(np.multiply.outer(factor, _EYE) + np.multiply.outer(1 - factor, _GRAY))


def hue(degrees: Number) -> ColorMap:
    """Turns the chroma plane of YIQ, as DALI does; PIL and OpenCV turn the hue of HSV instead."""
    angle = np.radians(degrees)
    turned = np.multiply.outer(np.cos(angle), _CHROMA) + np.multiply.outer(np.sin(angle), _TURN)
    return _linear(_RGB @ (np.diag([1, 0, 0]) + turned) @ _YIQ)


def channel_gray(channel: int | np.ndarray) -> ColorMap:
    """Copies one of R, G and B to all three."""
    return _linear(np.repeat(_EYE[channel][..., None, :], 3, axis=-2))


def choose(maps: Sequence[ColorMap], which: np.ndarray) -> ColorMap:
    """For each of N frames the one that `which`, int (N,), names; or K of them, with (K, N)."""

    def chosen(parts: list[np.ndarray], axes: int) -> np.ndarray:
        of_frames = np.empty((len(maps), which.shape[-1], *[3] * axes))
        for place, part in enumerate(parts):
            of_frames[place] = part
        return of_frames[which, np.arange(which.shape[-1])]

    return ColorMap(
        chosen([m.matrix for m in maps], 2), chosen([m.pivot for m in maps], 2), chosen([m.offset for m in maps], 1)
    )


def series(maps: Sequence[ColorMap]) -> ColorMap:
    """One after the other."""
    return reduce(ColorMap.then, maps, IDENTITY)


def color_arrays(maps: Sequence[ColorMap]) -> dict[str, np.ndarray]:
    """The arrays that `graph.color.color_map` takes, one map a frame."""
    matrices, pivots, offsets = (
        np.array([getattr(m, part) for m in maps], np.float32) for part in ("matrix", "pivot", "offset")
    )
    of_one = matrices[:, :1, :1] * np.eye(3, dtype=np.float32)
    kinds = [
        pivots.any(axis=(1, 2)),
        (matrices != of_one).any(axis=(1, 2)) | (offsets != offsets[:, :1]).any(axis=1),
        (matrices != _EYE).any(axis=(1, 2)) | offsets.any(axis=1),
    ]
    return {
        "color_kind": np.select(kinds, [WITH_MEAN, MIXED, SCALED]).astype(np.uint8),
        "color_matrix": matrices,
        "color_pivot": pivots,
        "color_offset": offsets,
    }


def color_maps(plan: Mapping[str, np.ndarray]) -> list[ColorMap | None]:
    """The maps of `color_arrays`, None for those that change nothing."""
    parts = (plan[f"color_{part}"] for part in ("kind", "matrix", "pivot", "offset"))
    return [ColorMap(*rest) if kind else None for kind, *rest in zip(*parts, strict=True)]


def color_schema(frames: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of `color_arrays`."""
    return {
        "color_kind": ((frames,), "uint8"),
        "color_matrix": ((frames, 3, 3), "float32"),
        "color_pivot": ((frames, 3, 3), "float32"),
        "color_offset": ((frames, 3), "float32"),
    }
