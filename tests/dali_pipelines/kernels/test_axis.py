"""Scaling along one axis against PIL in floats."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from dali_pipelines.kernels.axis import GROUP, Axis, axis


def scaled(made: Axis, levels: np.ndarray) -> np.ndarray:
    """Sum the weighted taps, one weight at a time."""
    taps, start = made
    padded = np.append(levels, np.full(len(taps.weight), np.nan))  # reads past the end have no weight
    total = np.zeros(taps.size)
    for k, weight in enumerate(taps.weight):
        values = padded[start + taps.at[k // GROUP] + k % GROUP]
        total += np.where(weight == 0, 0, weight * values)
    return total


def by_pil(levels: np.ndarray, start: int, extent: int, size: int, *, cubic: bool) -> np.ndarray:
    row = Image.fromarray(levels[None, start : start + extent].astype(np.float32), mode="F")
    return np.asarray(row.resize((size, 1), Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR))[0]


@given(st.integers(1, 300), st.integers(1, 300), st.data(), st.booleans(), st.booleans())
@example(1, 1, None, False, False)
@example(3, 224, None, True, True)
def test_scaling_and_mirroring_match_pil(length, size, data, cubic, mirror):
    start = data.draw(st.integers(0, length - 1)) if data else 0
    extent = data.draw(st.integers(1, length - start)) if data else length
    levels = np.random.default_rng(length).integers(0, 256, length).astype(float)
    made = axis(start, extent, size, low=start, high=start + extent, cubic=cubic, mirror=mirror)
    expected = by_pil(levels, start, extent, size, cubic=cubic)
    np.testing.assert_allclose(scaled(made, levels), expected[:: -1 if mirror else 1], atol=0.02)
    taps = made.filter
    assert (str(taps.at.dtype), str(taps.weight.dtype)) == ("int32", "float32")
    assert made.start + taps.at.min() >= 0
    assert start <= made.start + taps.low < made.start + taps.high <= start + extent
    places = taps.at.repeat(GROUP, axis=0) + np.tile(np.arange(GROUP), len(taps.at))[:, None]
    assert (places[taps.weight != 0].min(), places[taps.weight != 0].max() + 1) == (taps.low, taps.high)
    assert places.max() < taps.read


def test_starting_at_half_a_pixel_averages_two():
    """Chroma needs this where a box begins in the middle of a sample."""
    made = axis(0.5, 2, 2, low=0, high=4)
    np.testing.assert_allclose(scaled(made, np.array([0.0, 10, 30, 70])), [5, 20])


def test_filters_are_shared_away_from_the_border():
    """A shared filter equals a new one applied to shifted levels."""
    levels = np.random.default_rng(0).integers(0, 256, 200).astype(float)
    made = [axis(at, 60, 32, low=0, high=200) for at in (20, 70.5, 98)]
    assert made[0].filter is made[2].filter
    assert made[0].filter is not made[1].filter
    for one, at in zip(made, (20, 70.5, 98), strict=True):
        fresh = axis(at - int(at) + 50, 60, 32, low=0, high=200)
        np.testing.assert_array_equal(scaled(one, levels), scaled(fresh, np.roll(levels, 50 - int(at))))
