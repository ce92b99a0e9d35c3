"""Draws that several tasks share, and the minimum number of frames."""

from dataclasses import replace

import numpy as np
import pytest

from dali_pipelines.pixels.normalize import STD
from dali_pipelines.tasks import Task, task_module
from tests.helpers.dali import run_graph
from tests.helpers.plans import plans
from tests.helpers.ramps import ramp, ramp_view, recolored


@pytest.mark.parametrize("task", ["memdpc", "moco", "rot3d", "vcop"])
def test_only_fixed_aspect_squeezes_a_wide_video_to_four_by_three(task):
    """The video is large, so rounding by a pixel is under a hundredth of a crop."""
    cfg = task_module(task).Config()
    for fixed_aspect, width_by_height in [(False, 1), (True, (3200 / 1200) / (4 / 3))]:
        cfg = replace(cfg, reference=replace(cfg.reference, fixed_aspect=fixed_aspect))
        for plan in plans(task, cfg, 50, width=3200, height=1200):
            height, width = np.abs(plan["crop_end"] - plan["crop_start"]).T
            assert width / height == pytest.approx(np.full(len(width), width_by_height), rel=0.01)


@pytest.mark.parametrize("task", ["cpc_transformer", "dpc"])
def test_crops_are_random_224_squares_mirrored_half_the_time(task):
    crops = np.array(
        [(plan["crop_start"][0], plan["crop_end"][0]) for plan in plans(task, task_module(task).Config(), 1000)]
    )
    (top, left), (bottom, right) = crops.transpose(1, 2, 0)
    assert set(bottom - top) == {224.0}
    assert set(top) == set(range(0, 17, 2))
    assert np.minimum(left, right).min() < 3
    assert np.minimum(left, right).max() > 93
    assert np.maximum(left, right).max() <= 320
    assert abs((left > right).mean() - 0.5) < 0.06


@pytest.mark.parametrize(
    ("task", "changes", "frames"),
    [
        ("concepts", {}, 33),
        ("concepts", {"num_frames": 8}, 17),
        ("cpc_transformer", {}, 16),
        ("cpc_transformer", {"num_frames": 8}, 25),
        ("dpc", {}, 121),
        ("dpc", {"stride": 5}, 201),
        ("memdpc", {}, 121),
        ("vcop", {}, 18),
    ],
)
def test_min_frames_match_the_originals(task, changes, frames):
    assert Task(task, task_module(task).Config(**changes)).min_frames == frames


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("moco", {"num_frames": 4}),
        ("memdpc", {"num_blocks": 3, "num_frames": 2}),
        ("speednet", {"num_frames": 4}),
    ],
)
def test_each_view_has_its_own_crop_and_each_frame_its_colors(task, changes):
    cfg = task_module(task).Config(size=32, short_sides=(40, 44), **changes)
    samples = plans(task, cfg, 8, num_frames=60, width=72, height=48)
    got = run_graph(
        lambda n: Task(task, cfg).graph(n["media"], n)["clips"],
        [{**plan, "media": ramp(plan["frames"], 48, 72)} for plan in samples],
        {"media": "FHWC"},
    )
    for clips, plan in zip(got, samples, strict=True):
        starts, ends = plan["crop_start"], plan["crop_end"]
        views = map(ramp_view, np.split(plan["frames"], len(starts)), starts, ends, [32] * len(starts))
        expected = recolored(np.concatenate([*views]), plan)
        assert abs(clips - expected).max() < 2.5 / 255 / min(STD)
