"""Boxes, turns and views in DALI against PIL and numpy."""

import numpy as np
import pytest
from PIL import Image

from dali_pipelines.graph.geometry import crop_box, each_view, turn
from dali_pipelines.plan.boxes import box_arrays, random_box
from tests.helpers.dali import run_graph


def smooth(frames: int, height: int, width: int) -> np.ndarray:
    few = np.random.default_rng(0).integers(0, 256, (frames, 7, 9, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(f).resize((width, height), Image.Resampling.BICUBIC)) for f in few])


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("cubic", [False, True])
def test_a_box_is_what_pil_crops_scales_and_mirrors(cubic, mirror, device):
    clip = smooth(2, 120, 160)
    y, x, h, w = 11, 30, 90, 101
    (got,) = run_graph(
        lambda n: crop_box(n["clip"], n, 1, size=48, cubic=cubic),
        [{"clip": clip, **box_arrays([(0, 0, 20, 20), (y, x, h, w)], np.array([not mirror, mirror]))}],
        {"clip": "FHWC"},
        device,
    )
    kind = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    for frame, picture in zip(got, clip, strict=True):
        theirs = np.asarray(Image.fromarray(picture[y : y + h, x : x + w]).resize((48, 48), kind)).astype(int)
        theirs = theirs[:, ::-1] if mirror else theirs
        assert np.abs(frame.astype(int) - theirs).max() <= 2


def test_nothing_outside_the_box_is_read_and_outside_the_picture_it_is_black(device):
    clip = np.full((1, 40, 40, 3), 255, np.uint8)
    clip[:, 10:30, 10:30] = 100
    boxes = [(10, 10, 20, 20), (30, 0, 20, 40)]
    inside, hanging_out = run_graph(
        lambda n: crop_box(n["clip"], n, 0, size=16),
        [{"clip": clip, **box_arrays([box], np.zeros(1))} for box in boxes],
        {"clip": "FHWC"},
        device,
    )
    assert (inside == 100).all()
    assert (hanging_out[:, :7] == 255).all()
    assert (hanging_out[:, 9:] == 0).all()


def test_frames_without_a_box_are_left_alone():
    clip = smooth(1, 20, 30)
    (got,) = run_graph(lambda n: crop_box(n["clip"], n, 0, size=16), [{"clip": clip}], {"clip": "FHWC"})
    assert (got == clip).all()


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("quarter", range(4))
def test_a_quarter_turn_is_numpys(quarter, size, device):
    clip = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    sample = {"clip": clip, "quarters": np.float32([3, quarter])}
    (got,) = run_graph(lambda n: turn(n["clip"], n, 1), [sample], {"clip": "FHWC"}, device)
    assert (got == np.rot90(clip, quarter, axes=(1, 2))).all()


def test_a_small_turn_is_pils_but_for_ties_of_the_nearest_pixel(device):
    clip = smooth(1, 64, 64)
    sample = {"clip": clip, "degrees": np.float32([7.3])}
    (got,) = run_graph(lambda n: turn(n["clip"], n, 0), [sample], {"clip": "FHWC"}, device)
    theirs = np.asarray(Image.fromarray(clip[0]).rotate(7.3))
    assert (got[0] == theirs).all(-1).mean() > 0.97
    assert (got[0, 0, 0] == 0).all()  # a corner that opened


def test_views_come_one_after_the_other():
    clip = np.arange(6, dtype=np.uint8).reshape(6, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    (got,) = run_graph(
        lambda n: each_view(n["clip"], (2, 3, 1), lambda part, v: part + v), [{"clip": clip}], {"clip": "FHWC"}
    )
    assert got[:, 0, 0, 0].tolist() == [0, 1, 3, 4, 5, 7]


def test_views_that_nothing_changes_are_the_frames_themselves():
    clip = smooth(4, 10, 10)
    same = []

    def graph(n):
        same.append(each_view(n["clip"], (1, 3), lambda part, v: part) is n["clip"])
        return n["clip"]

    run_graph(graph, [{"clip": clip}], {"clip": "FHWC"})
    assert same == [True]


def test_random_boxes_have_their_share_aspect_and_place():
    rng = np.random.default_rng(2)
    boxes = np.array([random_box(240, 320, rng, area=(0.5, 1)) for _ in range(4000)])
    y, x, h, w = boxes.T
    assert not (boxes % 2).any()
    assert (y >= 0).all() and (x >= 0).all() and (y + h <= 240).all() and (x + w <= 320).all()  # noqa: PT018
    share = h * w / (240 * 320)
    assert 0.49 < share.min() < 0.51
    assert share.max() > 0.95
    assert ((w / h > 0.74) & (w / h < 1.35)).all()
    assert random_box(10, 1000, rng, area=(0.9, 1)) == (0, 494, 10, 10)  # nothing fits: the middle square
