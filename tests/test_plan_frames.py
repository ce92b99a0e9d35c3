"""Frame samplers against the figures of specs/ctp.md 0.2."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dali_pipelines.plan.frames import random_clip, uniform_clips

STRIDES = (1, 2, 3, 4, 5)


def test_uniform_clips_start_where_the_spec_says():
    starts = uniform_clips(180, clips=10, length=16, stride=2)[:, 0]
    assert starts.tolist() == [7, 22, 37, 52, 67, 81, 96, 111, 126, 141]
    assert uniform_clips(20, clips=10, length=16, stride=2)[:, 0].tolist() == [0] * 10
    assert uniform_clips(50, clips=1, length=32, stride=1)[0, 0] == 9


@given(st.integers(1, 400), st.integers(0, 2**32), st.booleans())
def test_a_random_clip_stays_in_the_video_and_follows_one_stride(num_frames, seed, jitter):
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
    """Chi-squared over 4000 draws, 99.9 % limits: 18.5 for 4 degrees of freedom, 27.9 for 9."""
    rng = np.random.default_rng(1)
    clips = np.stack([random_clip(170, rng, length=16, strides=STRIDES, jitter=False) for _ in range(4000)])
    strides = np.bincount(clips[:, 1] - clips[:, 0], minlength=6)[1:]
    assert ((strides - 800) ** 2 / 800).sum() < 18.5
    starts = clips[clips[:, 1] - clips[:, 0] == 1, 0]  # 0 to 154 for stride 1
    counts = np.histogram(starts, bins=10, range=(0, 155))[0]
    assert ((counts - len(starts) / 10) ** 2 / (len(starts) / 10)).sum() < 27.9


def test_jitter_moves_every_frame_by_less_than_a_stride_even_the_first():
    rng = np.random.default_rng(2)
    offsets = np.stack([random_clip(1000, rng, length=16, strides=(4,), jitter=True) for _ in range(500)]) % 1000
    relative = offsets - 4 * np.arange(16)
    spread = relative - relative.min(axis=1, keepdims=True)
    assert spread.max() == 3
    assert len(np.unique(relative[:, 0] - relative.min(axis=1))) == 4
