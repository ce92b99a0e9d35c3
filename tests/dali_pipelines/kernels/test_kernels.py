"""Compiled pixel operations equal those in NumPy bit for bit; their results are tested where they are used."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_pipelines import kernels
from dali_pipelines.decode.rgb import rgb_matrix
from dali_pipelines.kernels import reference
from dali_pipelines.kernels.axis import axis

COMPILED = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
seeds, sides = st.integers(0, 2**32 - 1), st.integers(1, 70)


@COMPILED
def test_kernels_are_compiled_where_there_is_a_compiler():
    assert kernels.NATIVE is not None


def clip(rng: np.random.Generator, height: int, width: int, frames: int = 2) -> np.ndarray:
    return rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


def random_colors(rng: np.random.Generator) -> np.ndarray:
    """Return colors of two frames, float32 (2, 3, 7); the second one does not use means."""
    colors = (rng.normal(size=(2, 3, 7)) * [1, 1, 1, 1, 1, 1, 100]).astype(np.float32)
    colors[1, :, 3:6] = 0
    return colors


class FakePlane(np.ndarray):
    """An array with the interface of PyAV's planes; its rows need not be padded."""

    def __new__(cls, levels):
        return levels.view(cls)

    buffer_ptr = property(lambda self: self.ctypes.data)
    line_size = property(lambda self: self.strides[0])


@COMPILED
@given(seeds, sides, sides, st.integers(1, 40), st.sampled_from([0, 9]), st.booleans(), st.booleans(), st.data())
def test_cut_matches_the_reference(seed, height, width, size, padding, cubic, mirror, data):
    rng = np.random.default_rng(seed)
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    h, w = data.draw(st.integers(1, height - y)), data.draw(st.integers(1, width - x))
    half = (height + 1) // 2, (width + 1) // 2
    shapes = [(height, width), half, half]
    planes = [FakePlane(rng.integers(0, 256, (h, w + padding), dtype=np.uint8)) for h, w in shapes]
    luma = [
        axis(y, h, size, low=y, high=y + h, cubic=cubic),
        axis(x, w, size, low=x, high=x + w, cubic=cubic, mirror=mirror),
    ]
    chroma = [
        axis(y / 2, h / 2, size, low=0, high=half[0], cubic=cubic),
        axis(x / 2, w / 2, size, low=0, high=half[1], cubic=cubic, mirror=mirror),
    ]
    axes, matrix = [*luma, *chroma, *chroma], rgb_matrix(full_range=False)
    got = np.empty((size, size, 3), np.uint8)
    kernels.Cut(axes, [plane.line_size for plane in planes], matrix)(planes, got)
    np.testing.assert_array_equal(got, reference.cut(planes, axes, matrix))


@COMPILED
@given(seeds, sides, sides)
def test_recolor_and_gather_match_the_reference(seed, height, width):
    rng = np.random.default_rng(seed)
    pixels = clip(rng, height, width)
    colors = random_colors(rng)
    sources = rng.integers(-1, height * width, (height, width)).astype(np.int32)
    for function, argument in (("recolor", colors), ("gather", sources)):
        got = pixels.copy()
        getattr(kernels, function)(got, argument)
        np.testing.assert_array_equal(got, getattr(reference, function)(pixels, argument))


@COMPILED
@given(seeds, sides, sides, st.integers(0, 8))
def test_blur_matches_the_reference(seed, height, width, reach):
    rng = np.random.default_rng(seed)
    pixels, weights = clip(rng, height, width), rng.random(reach + 1).astype(np.float32)
    weights /= 2 * weights.sum() - weights[0]
    got = pixels.copy()
    kernels.blur(got, weights)
    np.testing.assert_array_equal(got, reference.blur(pixels, weights))


@COMPILED
@given(seeds, sides, sides, sides, st.data())
def test_paste_matches_the_reference(seed, size, height, width, data):
    rng = np.random.default_rng(seed)
    patch, pixels = rng.integers(0, 256, (height, width, 4)).astype(np.float32), clip(rng, size, size, 3)
    corners = [[data.draw(st.integers(0, size - 1)) for _ in range(2)] for _ in pixels]
    boxes = np.array([[*c, *(data.draw(st.integers(1, size - at)) for at in c)] for c in corners], np.int32)
    opacity = np.array([0, 0.4 / 255, 1 / 255], np.float32)
    got = pixels.copy()
    kernels.paste(got, patch, boxes, opacity)
    np.testing.assert_array_equal(got, reference.paste(pixels, patch, boxes, opacity))
