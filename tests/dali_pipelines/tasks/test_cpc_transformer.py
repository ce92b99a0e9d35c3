"""CPC with a Transformer, data side: its frames, crops and colors."""

import numpy as np
import torch.nn.functional as F

from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.jitter import frame_colors
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.cpc_transformer import Config as Plan
from tests.helpers.plans import plans


def test_frames_are_three_apart_with_the_specs_starts():
    """specs/cpc_transformer.md 1."""
    frames = np.array([plan["frames"] for plan in plans("cpc_transformer", Plan(), 400, num_frames=30)])
    assert (np.diff(frames) == 3).all()
    assert set(frames[:, 0]) == set(range(30 - 5 * 3))


def test_a_smaller_size_shows_the_same_region():
    large, little = (plans("cpc_transformer", Plan(size=size), 1)[0] for size in (224, 128))
    assert np.array_equal(large["crop_end"][0], little["crop_end"][0])
    assert Task("cpc_transformer", Plan(size=128)).batch_schema["clips"][0] == (3, 5, 128, 128)


def test_each_frame_is_gray_half_the_time_from_a_random_channel():
    colors = [frame_colors(generator(0, Stream.SAMPLE, 0, row), 5) for row in range(400)]
    # Gray maps do not distinguish two colors with the same value in one channel.
    by_channel = np.array(
        [[np.ptp(np.delete(np.abs(c.matrix), k, axis=1)) < 1e-9 for k in range(3)] for cs in colors for c in cs]
    )
    gray = by_channel.any(axis=1).reshape(400, 5)
    assert abs(gray.mean() - 0.5) < 0.05
    assert abs((gray.sum(axis=1) % 5 == 0).mean() - 2 / 32) < 0.04  # all five frames alike
    assert np.abs(by_channel.mean(axis=0) - 1 / 6).max() < 0.03


def test_every_frame_has_its_own_colors():
    matrices = np.array([c.matrix for c in frame_colors(generator(0, Stream.SAMPLE, 0, 0), 6)])
    assert len(np.unique(matrices.round(6), axis=0)) == 6


def test_brightness_ranges_from_half_to_one_and_a_half():
    """Only brightness scales the mean of a gray picture; contrast, saturation and hue keep it (hue adds some
    thousandths, because YIQ's coefficients have three digits)."""
    maps = frame_colors(generator(0, Stream.SAMPLE, 0, 1), 1500)
    scale = np.array([((c.matrix + c.pivot) @ np.ones(3)).mean() for c in maps])
    assert 0.495 < scale.min() < 0.51
    assert 1.49 < scale.max() < 1.505
    assert abs(scale.mean() - 1) < 0.02


def test_frames_of_a_clip_share_the_crop_but_not_the_colors(vp9_store):
    """The store's videos slide to the right by 2 pixels a frame, so their columns tell the position."""
    cfg = Plan(size=96, crop_size=96, short_sides=(160,), flip_prob=0.0)
    loader = ClipLoader(vp9_store, Task("cpc_transformer", cfg), batch_size=6)
    clips_BTCHW = next(iter(loader))["clips"].movedim(2, 1)
    assert clips_BTCHW.mean(dim=(3, 4)).std(dim=1).min() > 0.05
    before, after = clips_BTCHW[:, :-1, ..., :-6], clips_BTCHW[:, 1:, ..., 6:]  # 3 frames, 6 pixels
    moved, still = (correlation(before, x).abs().mean() for x in (after, clips_BTCHW[:, 1:, ..., :-6]))
    assert moved > 0.5
    assert still < 0.25


def correlation(a, b):
    """Correlate the brightness of two pictures (..., 3, H, W)."""
    a, b = (x.mean(-3).flatten(-2) - x.mean(dim=(-3, -2, -1))[..., None] for x in (a, b))
    return F.cosine_similarity(a, b, dim=-1)
