"""CSTP, plans: draws against the spec's figures, and labels against the actual geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_pipelines.plan.boxes import random_box
from dali_pipelines.plan.overlap import (
    RATES,
    STRIDES,
    looped_clip,
    overlapping_box,
    overlapping_starts,
    random_stride,
    unrotated,
)
from dali_pipelines.tasks.cstp import Config, Reference, draw_appearance, draw_boxes, plan
from tests.helpers.plans import video

WIDE = video(300, 341, 256)


def shares(values, classes):
    return np.bincount(values, minlength=classes) / len(values)


# Time.

TRUNCATED = {1: (0, 2, 6, 9, 12), 2: (0, 5, 12, 18, 24), 4: (0, 11, 24, 36, 48), 8: (0, 23, 48, 72, 96)}


@pytest.mark.parametrize(("num_frames", "classes"), [(1, 1), (29, 1), (30, 2), (59, 2), (60, 3), (119, 3), (120, 4)])
def test_strides_are_uniform_among_those_that_fit(num_frames, classes):
    rng = np.random.default_rng(0)
    drawn = [random_stride(num_frames, rng, length=16) for _ in range(2000)]
    np.testing.assert_allclose(shares(drawn, 4), [1 / classes] * classes + [0] * (4 - classes), atol=0.04)


@given(st.integers(1, 400), st.integers(0, 3), st.booleans(), st.integers(0, 2**32))
def test_temporal_label_is_the_overlap_of_the_clips(num_frames, playback, truncate, seed):
    stride = STRIDES[playback]
    rng = np.random.default_rng(seed)
    first, second, share = overlapping_starts(num_frames, rng, length=16, stride=stride, truncate=truncate)
    steps = {"num_frames": num_frames, "length": 16, "stride": stride}
    clips = [looped_clip(start, **steps) for start in (first, second)]
    assert all(clip.min() >= 0 and clip.max() < num_frames for clip in clips)
    if num_frames <= 15 * stride:
        assert (first, second, share) == (0, 0, 0)
        assert clips[0].tolist() == [stride * j % (stride * -(-num_frames // stride)) for j in range(16)]
    elif truncate:
        assert abs(second - first) == TRUNCATED[stride][share]
    else:
        assert 1 - abs(second - first) / (15 * stride) == pytest.approx(RATES[share])
        assert len(np.intersect1d(clips[0], clips[1])) == (16, 13, 10, 7, 4)[share]


def exact_marginal(num_frames, stride):
    """Return the class probabilities of a video, summed over every start, class and direction."""
    span = 15 * stride
    if num_frames <= span:
        return np.eye(5)[0]
    starts = np.arange(num_frames - span)
    offsets = 3 * stride * np.arange(5)
    legal = np.array([(starts - o >= 0).astype(int) + (starts + o < num_frames - span) for o in offsets])
    return (legal / legal.sum(0)).mean(1)


@pytest.mark.parametrize(("num_frames", "stride"), [(300, 8), (100, 4), (150, 8)])
def test_temporal_overlaps_have_the_marginal_of_rejection_sampling(num_frames, stride):
    rng = np.random.default_rng(1)
    drawn = [overlapping_starts(num_frames, rng, length=16, stride=stride)[2] for _ in range(6000)]
    np.testing.assert_allclose(shares(drawn, 5), exact_marginal(num_frames, stride), atol=0.025)


def test_temporal_overlaps_have_the_specs_marginals_on_kinetics():
    # 300 frames and equally frequent strides: nearly all of Kinetics (specs/cstp.md 1.3 includes shorter videos).
    marginal = np.mean([exact_marginal(300, stride) for stride in STRIDES], axis=0)
    np.testing.assert_allclose(marginal, [0.238, 0.216, 0.197, 0.182, 0.168], atol=0.01)


# Space.


@given(st.integers(16, 500), st.integers(16, 500), st.integers(0, 2**32))
def test_spatial_label_is_the_overlap_of_the_boxes(height, width, seed):
    rng = np.random.default_rng(seed)
    y, x, h, w = first = random_box(height, width, rng, area=(0.2, 1))
    (top, left, *size), share = overlapping_box(first, height, width, rng)
    assert not any(number % 2 for number in (*first, top, left))
    assert size == [h, w]
    assert 0 <= top <= height - h
    assert 0 <= left <= width - w
    common = (h - abs(top - y)) * (w - abs(left - x)) / (h * w)
    assert RATES[share] - 2 / h < common <= RATES[share] + 1e-9


def drawn_pairs(count, *, rotated):
    rng = np.random.default_rng(2)
    for _ in range(count):
        quarter_turns = rng.integers(4, size=2)
        yield quarter_turns, *draw_boxes(WIDE, quarter_turns, rng, rotated=rotated)


def test_spatial_overlaps_have_the_specs_marginals():
    drawn = [spatial for _, _, spatial in drawn_pairs(8000, rotated=False)]
    np.testing.assert_allclose(shares(drawn, 5), [0.654, 0.206, 0.087, 0.039, 0.015], atol=0.015)


def shared_area(boxes):
    (y, x, h, w), (y2, x2, h2, w2) = boxes
    common = [max(0, min(a + n, b + m) - max(a, b)) for a, n, b, m in ((y, h, y2, h2), (x, w, x2, w2))]
    return common[0] * common[1] / (h * w)


def test_rotated_comparison_has_the_originals_statistics():
    """Compare shares of classes and of boxes outside the picture, and each class's true overlap (specs/cstp.md 1.6)."""
    pairs = list(drawn_pairs(8000, rotated=True))
    spatial = np.array([share for *_, share in pairs])
    np.testing.assert_allclose(shares(spatial, 5), [0.580, 0.225, 0.120, 0.055, 0.020], atol=0.015)
    outside = [y < 0 or x < 0 or y + h > 256 or x + w > 341 for _, (_, (y, x, h, w)), _ in pairs]
    assert np.mean(outside) == pytest.approx(0.278, abs=0.02)
    true = np.array([shared_area(boxes) for _, boxes, _ in pairs])
    means = [true[spatial == share].mean() for share in range(5)]
    np.testing.assert_allclose(means, [0.72, 0.63, 0.57, 0.51, 0.42], atol=0.05)


@pytest.mark.parametrize("quarter_turns", range(4))
def test_unrotated_finds_the_box_in_the_original_picture(quarter_turns):
    picture = np.arange(12 * 20).reshape(12, 20)
    turned = np.rot90(picture, quarter_turns)
    y, x, h, w = 3, 2, 7, 5
    y0, x0, h0, w0 = unrotated((y, x, h, w), quarter_turns, 12, 20)
    expected = turned[y : y + h, x : x + w]
    assert (np.rot90(picture[y0 : y0 + h0, x0 : x0 + w0], quarter_turns) == expected).all()


# Appearance.


def test_appearance_changes_have_the_specs_frequencies():
    rng, cfg = np.random.default_rng(3), Config()
    looks = [draw_appearance(rng, cfg) for _ in range(6000)]
    angles, sigmas = (np.array(values) for values in list(zip(*looks, strict=True))[::2])
    assert np.mean(angles != 0) == pytest.approx(0.30, abs=0.02)
    assert np.mean(sigmas > 0) == pytest.approx(0.15, abs=0.02)
    assert 9.8 < np.abs(angles).max() <= 10
    assert 0.1 <= sigmas[sigmas > 0].min() < 0.15 < 1.95 < sigmas.max() <= 2
    matrices = np.array([colors[0].matrix for _, colors, _ in looks])
    assert np.mean((matrices != np.eye(3)).any((1, 2))) == pytest.approx(0.3 * (1 - 0.2 * 0.8), abs=0.02)
    assert np.mean((matrices[:, 0] == matrices[:, 1]).all(1)) == pytest.approx(0.06, abs=0.012)
    assert all((one.matrix == colors[0].matrix).all() for _, colors, _ in looks for one in colors)


def test_gray_per_frame_flickers():
    rng, cfg = np.random.default_rng(4), Config(reference=Reference(gray_per_frame=True))
    looks = [[one.matrix for one in draw_appearance(rng, cfg)[1]] for _ in range(300)]
    flickering = [any((one != look[0]).any() for one in look) for look in looks]
    gray = [(look[0][0] == look[0][1]).all() for look in looks]
    assert flickering == gray
    assert any(gray)


@pytest.mark.parametrize("same_start", [False, True])
def test_same_start_shows_the_first_clip_twice(same_start):
    rng, cfg = np.random.default_rng(5), Config(reference=Reference(same_start=same_start))
    plans = [plan(WIDE, rng, cfg) for _ in range(50)]
    common = [len(np.intersect1d(drawn["frames"][:16], drawn["frames"][16:])) for drawn in plans]
    temporal = [int(drawn["temporal"]) for drawn in plans]
    assert len(set(temporal)) == 5
    assert common == ([16] * 50 if same_start else [(16, 13, 10, 7, 4)[share] for share in temporal])


@pytest.mark.parametrize("num_frames", [1, 7, 8, 14, 15, 16])
def test_a_short_video_shows_one_clip_twice_at_speed_1(num_frames):
    drawn = plan(video(num_frames, 341, 256), np.random.default_rng(6), Config())
    assert (drawn["playback"].item(), drawn["temporal"].item()) == (0, 0)
    assert drawn["frames"].tolist() == [j % num_frames for j in range(16)] * 2
