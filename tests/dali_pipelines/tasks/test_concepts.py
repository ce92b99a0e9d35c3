"""Concepts, data side: its frames and its four views."""

from functools import cache
from typing import cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from dali_pipelines.pixels.color import Recolor
from dali_pipelines.pixels.normalize import MEAN, STD
from dali_pipelines.plan.color_map import shift
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.tasks import Task
from dali_pipelines.tasks.concepts import Config, Reference, draw_frames, plan
from tests.helpers.dali import run_graph
from tests.helpers.plans import plans, video

PER_FRAME = Config(reference=Reference(gray_per_frame=True))


@cache
def draws(count=1500, cfg=Config(), num_frames=400):  # noqa: B008
    drawn = plans("concepts", cfg, count, seed=3, num_frames=num_frames)
    return {key: np.array([p[key] for p in drawn]) for key in drawn[0]}


# Which frames.


@given(num_frames=st.integers(33, 400), seed=st.integers(0, 2**40))
def test_clips_are_consecutive_at_one_speed_and_stills_at_one_offset(num_frames, seed):
    frames = plan(video(num_frames), generator(seed, Stream.SAMPLE, 0), Config())["frames"]
    both, stills = frames[:32], frames[32:]
    # One start and speed must explain all 32 numbers: each pair bounds the speed from both sides.
    k = np.arange(32)
    later, earlier = np.nonzero(k[:, None] > k)
    gaps, steps = both[later] - both[earlier], later - earlier
    min_speed, max_speed = ((gaps - 1) / steps).max(), ((gaps + 1) / steps).min()
    assert max(min_speed, 1) <= min(max_speed, 3, num_frames / 32)
    assert both[-1] <= num_frames - 1
    assert [both[a] == stills[0] and both[a + 16] == stills[1] for a in range(16)].count(True) >= 1


class Fixed:
    """A generator with known draws: speed 1.25, start 7, anchor 3."""

    def __init__(self):
        self.integers_left = [7, 3]

    def uniform(self, low, high):
        return 1.25

    def integers(self, *bounds, **options):
        return self.integers_left.pop(0)


def test_frame_numbers_follow_the_formula():
    expected = [min(round(1.25 * k + 7), 44) for k in range(32)]  # Python rounds halves to even too
    assert (expected[2], expected[6], expected[31]) == (10, 14, 44)  # 9.5, 14.5 and 45.75
    frames = draw_frames(45, cast(np.random.Generator, Fixed()), Config())
    assert frames.tolist() == [*expected, expected[3], expected[19]]


@pytest.mark.slow
def test_speed_is_uniform_up_to_three_or_what_the_video_allows():
    for count, num_frames, most in ((1500, 400, 3.0), (500, 64, 2.0), (500, 33, 33 / 32)):
        frames = draws(count, num_frames=num_frames)["frames"]
        speed = (frames[:, 31] - frames[:, 0]) / 31
        assert speed.mean() == pytest.approx((1 + most) / 2, abs=0.04)
        assert abs(np.quantile(speed, [0.1, 0.9]) - (1 + (most - 1) * np.array([0.1, 0.9]))).max() < 0.08


@pytest.mark.slow
def test_starts_and_anchors_cover_all_positions():
    frames = draws()["frames"]
    assert frames[:, 0].min() < 5
    assert frames[:, 31].max() > 393
    anchors = (frames[:, 32, None] == frames[:, :16]).argmax(1)
    assert np.bincount(anchors, minlength=16).min() > 1500 / 16 * 0.6


# The four views.


def test_every_view_has_its_own_box_and_flip():
    drawn = draws()
    assert np.abs(drawn["box_mirror"].mean(0) - 0.5).max() < 0.05
    assert np.abs(np.corrcoef(drawn["box_mirror"].T) - np.eye(4)).max() < 0.1
    share = drawn["box_shape"].prod(-1) / (320 * 240)
    assert share.min() > 0.49
    assert share.max() <= 1
    assert np.abs(np.corrcoef(share.T) - np.eye(4)).max() < 0.1


def gray_channels(matrices):
    """Return the only nonzero column of each map (..., 3, 3), or -1 if there are several."""
    used = np.abs(matrices).max(-2) > 1e-6
    return np.where(used.sum(-1) == 1, used.argmax(-1), -1)


def test_half_of_the_views_are_gray_from_one_channel():
    channels = gray_channels(draws()["color_matrix"])
    views = channels[:, [0, 16, 32, 33]]
    assert (channels[:, :16] == views[:, :1]).all()
    assert (channels[:, 16:32] == views[:, 1:2]).all()
    assert np.abs((views >= 0).mean(0) - 0.5).max() < 0.05
    assert np.abs(np.corrcoef((views >= 0).T) - np.eye(4)).max() < 0.1
    assert np.abs(np.bincount(views[views >= 0]) / (views >= 0).sum() - 1 / 3).max() < 0.05


def test_gray_per_frame_changes_the_channel_every_frame():
    channels = gray_channels(draws(300, PER_FRAME)["color_matrix"]).reshape(300, 4, 16)
    gray = channels[channels.min(-1) >= 0]
    assert ((channels >= 0).all(-1) == (channels >= 0).any(-1)).all()  # a view is all gray or not at all
    assert np.abs(np.bincount(gray.ravel()) / gray.size - 1 / 3).max() < 0.03
    assert (gray != gray[:, :1]).any(1).all()
    assert Task("concepts", PER_FRAME).batch_schema["stills"][0] == (2, 3, 16, 128, 128)
    frames = draws(1, PER_FRAME)["frames"][0]
    assert (frames[32:48] == frames[32]).all()
    assert (frames[48:] == frames[48]).all()


def test_each_view_has_its_own_jitter_for_all_frames():
    drawn = draws(50)
    for key in ("color_matrix", "color_pivot"):
        first, second, *_ = np.split(drawn[key], [16, 32, 33], axis=1)
        assert (first == first[:, :1]).all()
        assert (second == second[:, :1]).all()
    views = drawn["color_matrix"][:, [0, 16, 32, 33]]
    assert all((views[:, a] != views[:, b]).any((1, 2)).all() for a in range(4) for b in range(a))


# The graph.


@pytest.mark.parametrize("cfg", [Config(4, 48), Config(4, 48, reference=Reference(gray_per_frame=True))])
def test_views_match_pil(cfg):
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 200, (sum(cfg.lengths), 6, 8, 3), dtype=np.uint8)
    pictures = [Image.fromarray(c).resize((96, 72), Image.Resampling.BICUBIC) for c in coarse]
    drawn = plan(video(width=96, height=72), generator(1, Stream.SAMPLE, 0), cfg)
    drawn |= {"box_mirror": np.array([1, 0, 0, 1], np.float32)}
    drawn |= Recolor.arrays([shift(t) for t in range(len(pictures))])  # a different map for each frame
    drawn["frames"] = np.stack([np.asarray(p) for p in pictures])

    expected = []
    views = np.repeat(range(4), cfg.lengths)
    for t, (picture, v) in enumerate(zip(pictures, views, strict=True)):
        (y, x), (h, w) = drawn["box_start"][v].tolist(), drawn["box_shape"][v].tolist()
        cut = picture.crop((x, y, x + w, y + h)).resize((48, 48), Image.Resampling.BILINEAR)
        levels = np.minimum(np.asarray(cut, float) + t, 255)
        expected.append(levels[:, :: -1 if drawn["box_mirror"][v] else 1])
    for name, rows in {"clips": views < 2, "stills": views >= 2}.items():

        def graph(n, name=name):
            return Task("concepts", cfg).graph(n["frames"], n)[name]

        (got,) = run_graph(graph, [drawn], {"frames": "FHWC"})
        levels = 255 * (got * np.array(STD, np.float32) + np.array(MEAN, np.float32))
        assert np.abs(levels - np.array(expected)[rows]).max() <= 2.1


def test_captions_name_the_frames_and_the_flip():
    drawn = plan(video(), generator(0, Stream.SAMPLE, 0), Config())
    drawn["box_mirror"] = np.array([0, 1, 1, 0], np.float32)
    captions = Task("concepts", Config()).annotate(drawn).captions
    frames = drawn["frames"]
    assert captions == [
        f"clip 1: frames {frames[0]} to {frames[15]}",
        f"clip 2: frames {frames[16]} to {frames[31]}, mirrored",
        f"still 1: frame {frames[32]}, mirrored",
        f"still 2: frame {frames[33]}",
    ]
