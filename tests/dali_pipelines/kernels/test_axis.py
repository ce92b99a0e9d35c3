"""Scaling along one axis against PIL, which scales floats too."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from dali_pipelines.kernels.axis import GROUP, Axis, axis


def scaled(made: Axis, levels: np.ndarray) -> np.ndarray:
    """Sum what the groups name, one weight at a time."""
    padded = np.append(levels, np.full(len(made.weight), np.nan))  # what is read beyond the end has no weight
    total = np.zeros(made.size)
    for k, weight in enumerate(made.weight):
        values = padded[made.at[k // GROUP] + k % GROUP]
        total += np.where(weight == 0, 0, weight * values)
    return total


def by_pil(levels: np.ndarray, start: int, extent: int, size: int, *, cubic: bool) -> np.ndarray:
    row = Image.fromarray(levels[None, start : start + extent].astype(np.float32), mode="F")
    return np.asarray(row.resize((size, 1), Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR))[0]


@given(st.integers(1, 300), st.integers(1, 300), st.data(), st.booleans(), st.booleans())
@example(1, 1, None, False, False)
@example(3, 224, None, True, True)
def test_a_part_is_scaled_and_mirrored_as_by_pil(length, size, data, cubic, mirror):
    start = data.draw(st.integers(0, length - 1)) if data else 0
    extent = data.draw(st.integers(1, length - start)) if data else length
    levels = np.random.default_rng(length).integers(0, 256, length).astype(float)
    made = axis(start, extent, size, low=start, high=start + extent, cubic=cubic, mirror=mirror)
    expected = by_pil(levels, start, extent, size, cubic=cubic)
    np.testing.assert_allclose(scaled(made, levels), expected[:: -1 if mirror else 1], atol=0.02)
    assert (str(made.at.dtype), str(made.weight.dtype)) == ("int32", "float32")
    assert made.at.min() >= 0
    assert start <= made.low < made.high <= start + extent
    places = made.at.repeat(GROUP, axis=0) + np.tile(np.arange(GROUP), len(made.at))[:, None]
    assert (places[made.weight != 0].min(), places[made.weight != 0].max() + 1) == (made.low, made.high)


def test_half_a_pixel_is_half_of_two():
    """Chroma of a box that begins in the middle of a sample."""
    made = axis(0.5, 2, 2, low=0, high=4)
    np.testing.assert_allclose(scaled(made, np.array([0.0, 10, 30, 70])), [5, 20])
