"""MoCo, data side: two views that share nothing but the video."""

import numpy as np
import pytest

from dali_pipelines.tasks import moco as data
from tests.helpers.plans import video

WIDE = video(300, 640, 360)


@pytest.fixture(scope="module")
def plans():
    rng = np.random.default_rng(0)
    return [data.plan(WIDE, rng, data.Config()) for _ in range(3000)]


def test_the_views_of_a_video_are_drawn_independently(plans):
    starts = np.array([plan["frames"].reshape(2, 16)[:, 0] for plan in plans])
    sides = np.array([abs(plan["crop_end"] - plan["crop_start"])[:, 0] for plan in plans])
    flips = np.array([plan["crop_start"][:, 1] > plan["crop_end"][:, 1] for plan in plans])
    plain = np.array([(plan["color_matrix"][[0, 16]] == np.eye(3)).all((1, 2)) for plan in plans])
    for values in (starts, sides, flips.astype(float), plain.astype(float)):
        assert abs(np.corrcoef(values.T)[0, 1]) < 0.06  # 3 standard errors
    assert flips.mean(0) == pytest.approx([0.5, 0.5], abs=0.03)
    # There are three changes with probability 0.2 each; brightness does not alter the matrix.
    assert plain.mean(0) == pytest.approx([0.64, 0.64], abs=0.03)
    for side in (112, 128, 144):
        expected = 360 * 112 / side  # then rounded to even
        assert np.isclose(sides, expected, rtol=0, atol=1).mean() == pytest.approx(1 / 3, abs=0.03)


def test_each_clip_has_its_own_stride_from_1_to_4(plans):
    clips = np.array([plan["frames"].reshape(2, 16) for plan in plans]).astype(int)
    steps = np.diff(clips, axis=2).mean(2)  # jitter changes it by at most 3/15
    strides = np.round(steps).astype(int)
    assert abs(steps - strides).max() <= 3 / 15 + 1e-6
    shares = np.histogram2d(strides[:, 0], strides[:, 1], bins=np.arange(0.5, 5))[0] / len(plans)
    assert shares == pytest.approx(np.full((4, 4), 1 / 16), abs=0.02)


def test_all_frames_of_a_view_share_their_colors(plans):
    for plan in plans[:50]:
        for name in ("color_kind", "color_matrix", "color_pivot", "color_offset"):
            views = plan[name].reshape(2, 16, -1)
            assert (views == views[:, :1]).all()


def test_notes_name_the_frames_and_the_mirror():
    cfg = data.Config(num_frames=2)
    plan = {
        "frames": np.array([3, 5, 10, 14]),
        "crop_start": np.array([[0.0, 0], [0, 20]]),
        "crop_end": np.array([[20.0, 20], [20, 0]]),
    }
    assert data.annotate(plan, cfg).captions == ["query: frames 3 to 5", "key: frames 10 to 14, mirrored"]
