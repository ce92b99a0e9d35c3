"""The compiled pixel operations against those in NumPy, to the bit; what each computes is tested where it is used."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_pipelines import kernels
from dali_pipelines.decode.planes import rgb_matrix
from dali_pipelines.kernels import reference
from dali_pipelines.kernels.axis import axis

COMPILED = pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler")
seeds, sides = st.integers(0, 2**32 - 1), st.integers(1, 70)


@COMPILED
def test_they_are_compiled_where_there_is_a_compiler():
    assert kernels.NATIVE is not None


def clip(rng: np.random.Generator, height: int, width: int, frames: int = 2) -> np.ndarray:
    return rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)


@COMPILED
@given(seeds, sides, sides, st.integers(1, 40), st.booleans(), st.booleans(), st.data())
def test_a_cut(seed, height, width, size, cubic, mirror, data):
    rng = np.random.default_rng(seed)
    y, x = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    h, w = data.draw(st.integers(1, height - y)), data.draw(st.integers(1, width - x))
    half = (height + 1) // 2, (width + 1) // 2
    planes = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((height, width), half, half)]
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
    kernels.Cut(axes, matrix)(planes, got)
    np.testing.assert_array_equal(got, reference.cut(planes, axes, matrix))


@COMPILED
@given(seeds, sides, sides)
def test_colors_sums_and_moved_pixels(seed, height, width):
    rng = np.random.default_rng(seed)
    pixels = clip(rng, height, width)
    np.testing.assert_array_equal(kernels.channel_sums(pixels), pixels.astype(int).sum(axis=(1, 2)))
    matrices = (rng.normal(size=(2, 3, 4)) * [1, 1, 1, 100]).astype(np.float32)
    sources = rng.integers(-1, height * width, (height, width)).astype(np.int32)
    for function, argument in (("recolor", matrices), ("gather", sources)):
        got = pixels.copy()
        getattr(kernels, function)(got, argument)
        np.testing.assert_array_equal(got, getattr(reference, function)(pixels, argument))


@COMPILED
@given(seeds, sides, sides, st.integers(0, 8))
def test_a_blur(seed, height, width, reach):
    rng = np.random.default_rng(seed)
    pixels, weights = clip(rng, height, width), rng.random(reach + 1).astype(np.float32)
    weights /= 2 * weights.sum() - weights[0]
    got = pixels.copy()
    kernels.blur(got, weights)
    np.testing.assert_array_equal(got, reference.blur(pixels, weights))


@COMPILED
@given(seeds, sides, sides, sides, sides)
def test_a_patch(seed, height, width, box_height, box_width):
    rng = np.random.default_rng(seed)
    patch = rng.integers(0, 256, (height, width, 4)).astype(np.float32)
    at = np.concatenate([rng.integers(0, height, box_height), rng.integers(0, width, box_width)]).astype(np.int32)
    share = rng.random(len(at)).astype(np.float32)
    (below,) = clip(rng, box_height + 3, box_width + 5, 1)
    got = below.copy()
    kernels.paste(patch, at, share, 0.7 / 255, got[1:-2, 2:-3])
    below[1:-2, 2:-3] = reference.paste(patch, at, share, 0.7 / 255, below[1:-2, 2:-3])
    np.testing.assert_array_equal(got, below)
