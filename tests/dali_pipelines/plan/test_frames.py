"""Frame samplers against the figures of specs/ctp.md 0.2."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_pipelines.plan.frames import clip_at_speed, clips_in_order, random_clip

STRIDES = (1, 2, 3, 4, 5)


@given(st.integers(1, 400), st.integers(0, 2**32), st.booleans())
def test_a_random_clip_stays_in_the_video_at_one_stride(num_frames, seed, jitter):
    frames = random_clip(num_frames, np.random.default_rng(seed), length=16, strides=STRIDES, jitter=jitter)
    assert frames.dtype == np.int32
    assert frames.shape == (16,)
    assert frames.min() >= 0
    assert frames.max() < num_frames
    inside = frames[frames < num_frames - 1]
    if not jitter and len(inside) > 1:
        steps = set(np.diff(inside).tolist())
        assert len(steps) == 1
        assert steps <= set(STRIDES)


def test_a_video_of_one_frame_repeats_it():
    clip = random_clip(1, np.random.default_rng(0), length=16, strides=STRIDES, jitter=True)
    assert clip.tolist() == [0] * 16


def test_strides_and_starts_are_uniform():
    """Chi-squared over 4000 draws; 99.9 % limits are 18.5 for 4 degrees of freedom and 27.9 for 9."""
    rng = np.random.default_rng(1)
    clips = np.stack([random_clip(170, rng, length=16, strides=STRIDES, jitter=False) for _ in range(4000)])
    strides = np.bincount(clips[:, 1] - clips[:, 0], minlength=6)[1:]
    assert ((strides - 800) ** 2 / 800).sum() < 18.5
    starts = clips[clips[:, 1] - clips[:, 0] == 1, 0]  # 0 to 154 for stride 1
    counts = np.histogram(starts, bins=10, range=(0, 155))[0]
    assert ((counts - len(starts) / 10) ** 2 / (len(starts) / 10)).sum() < 27.9


def test_jitter_shifts_every_frame_by_less_than_a_stride():
    rng = np.random.default_rng(2)
    offsets = np.stack([random_clip(1000, rng, length=16, strides=(4,), jitter=True) for _ in range(500)]) % 1000
    relative = offsets - 4 * np.arange(16)
    spread = relative - relative.min(axis=1, keepdims=True)
    assert spread.max() == 3
    assert len(np.unique(relative[:, 0] - relative.min(axis=1))) == 4


SPEEDS = (-4, -2, -1, 0, 1, 2, 4)


@given(st.integers(1, 200), st.sampled_from(SPEEDS), st.integers(0, 2**32))
def test_clip_at_speed_steps_by_its_speed_and_mirrors_backwards(num_frames, speed, seed):
    frames = clip_at_speed(num_frames, np.random.default_rng(seed), length=16, speed=speed)
    assert (frames.dtype, frames.shape, frames.flags.c_contiguous) == (np.dtype(np.int32), (16,), True)
    forwards = frames if speed >= 0 else frames[::-1]
    assert 0 <= forwards[0] <= max(0, num_frames - (15 * abs(speed) + 1))
    assert forwards.tolist() == [min(forwards[0] + i * abs(speed), num_frames - 1) for i in range(16)]


@pytest.mark.parametrize(("speed", "starts"), [(1, 5), (-1, 5), (0, 20)])
def test_clip_at_speed_starts_wherever_it_fits(speed, starts):
    rng = np.random.default_rng(0)
    clips = [clip_at_speed(20, rng, length=16, speed=speed) for _ in range(400)]
    assert {int(clip.min()) for clip in clips} == set(range(starts))


@pytest.mark.parametrize(("num_frames", "interval"), [(50, 1), (51, 1), (52, 2), (63, 7), (64, 8), (65, 8), (300, 8)])
def test_clips_in_order_have_the_specs_interval(num_frames, interval):
    """specs/ctp.md 1.6."""
    rng = np.random.default_rng(0)
    draws = [clips_in_order(num_frames, rng, clips=3, length=16, interval=8) for _ in range(2000)]
    first = np.arange(16)
    for clips in draws:
        assert (clips - clips[0, 0]).tolist() == [(first + k * (16 + interval)).tolist() for k in range(3)]
        assert (clips.dtype, clips.shape) == (np.dtype(np.int32), (3, 16))
    last_start = num_frames - 48 - 2 * interval
    assert {int(clips[0, 0]) for clips in draws} == set(range(last_start + 1))


@pytest.mark.parametrize(
    ("num_frames", "starts"), [(49, [5, 17, 28]), (48, [5, 16, 27]), (18, [0, 1, 2]), (16, [0, 0, 0]), (5, [0, 0, 0])]
)
def test_clips_in_order_spread_over_a_short_video(num_frames, starts):
    """floor(tick / 2 + tick * i) with tick = (N - 15) / 3, and 0 below 16 frames."""
    clips = clips_in_order(num_frames, np.random.default_rng(0), clips=3, length=16, interval=8)
    assert clips[:, 0].tolist() == starts
    assert clips.tolist() == [[min(start + i, num_frames - 1) for i in range(16)] for start in starts]
