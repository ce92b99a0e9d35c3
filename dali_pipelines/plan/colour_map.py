"""Colour changes as one linear map of RGB and of the frame's mean, so that any order of them costs one operator.

Brightness, contrast, saturation, hue and grey are each linear, hue approximately (`hue`). A series of them is the
product of their matrices; what is lost are the roundings and clamps between them, which 8-bit pictures have.
tests/test_graph_colour_map.py states the difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R 601
_YIQ = np.array([LUMA, [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])
_ONES = np.ones((3, 1))


@dataclass(frozen=True)
class ColourMap:
    """x -> matrix @ x + pivot @ m + offset for every pixel x of a frame with mean m; RGB in 0..255."""

    matrix: np.ndarray
    pivot: np.ndarray
    offset: np.ndarray

    def then(self, after: "ColourMap") -> "ColourMap":
        """This map, and `after` on its result, whose mean is the map's own value at m."""
        return ColourMap(
            after.matrix @ self.matrix,
            after.matrix @ self.pivot + after.pivot @ (self.matrix + self.pivot),
            (after.matrix + after.pivot) @ self.offset + after.offset,
        )


def _linear(matrix: np.ndarray) -> ColourMap:
    return ColourMap(matrix, np.zeros((3, 3)), np.zeros(3))


IDENTITY = _linear(np.eye(3))


def shift(levels: float) -> ColourMap:
    """Adds grey levels."""
    return ColourMap(np.eye(3), np.zeros((3, 3)), np.full(3, float(levels)))


def gain(factor: float) -> ColourMap:
    """Multiplies: PIL's brightness, and the contrast about black of specs/ctp.md 0.3."""
    return _linear(factor * np.eye(3))


def contrast(factor: float) -> ColourMap:
    """Blends with the mean luma of the frame, as PIL."""
    return ColourMap(factor * np.eye(3), (1 - factor) * _ONES * LUMA, np.zeros(3))


def saturation(factor: float) -> ColourMap:
    """Blends each pixel with its luma, as PIL. 0 is grey."""
    return _linear(factor * np.eye(3) + (1 - factor) * _ONES * LUMA)


def hue(degrees: float) -> ColourMap:
    """Turns the chroma plane of YIQ, as DALI does; PIL and OpenCV turn the hue of HSV instead."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return _linear(np.linalg.solve(_YIQ, np.array([[1, 0, 0], [0, c, s], [0, -s, c]]) @ _YIQ))


def channel_grey(channel: int) -> ColourMap:
    """Copies one of R, G and B to all three."""
    return _linear(np.tile(np.eye(3)[channel], (3, 1)))


def series(maps: Sequence[ColourMap]) -> ColourMap:
    """One after the other."""
    return reduce(ColourMap.then, maps, IDENTITY)


def colour_arrays(maps: Sequence[ColourMap]) -> dict[str, np.ndarray]:
    """The arrays that `graph.colour.colour_map` takes, one map a frame."""
    return {
        "colour_matrix": np.array([m.matrix for m in maps], np.float32),
        "colour_pivot": np.array([m.pivot for m in maps], np.float32),
        "colour_offset": np.array([m.offset for m in maps], np.float32),
    }


def colour_schema(frames: int) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of `colour_arrays`."""
    return {
        "colour_matrix": ((frames, 3, 3), "float32"),
        "colour_pivot": ((frames, 3, 3), "float32"),
        "colour_offset": ((frames, 3), "float32"),
    }
