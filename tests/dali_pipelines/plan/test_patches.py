"""Key frames, trajectories and masks against the figures of specs/ctp.md 0.4 and 1.1."""

from typing import Any

import numpy as np
import pytest

from dali_pipelines.pixels.paste import PastePatches
from dali_pipelines.plan.keyframes import interpolate, sample_keys
from dali_pipelines.plan.patches import Patches, draw_mask, draw_patches

DRAW: dict[str, Any] = {"patches": 3, "length": 16, "size": 112, "velocity": 3.0, "growth": 0.025, "visible_prob": 0.8}


@pytest.fixture(scope="module")
def drawn() -> list[Patches]:
    rng = np.random.default_rng(0)
    return [draw_patches(rng, **DRAW) for _ in range(3000)]


def test_inner_key_frames_match_the_spec():
    rng = np.random.default_rng(0)
    one = np.array([sample_keys(16, rng, (0, 1))[1] for _ in range(400)])
    assert set(one.tolist()) == {6, 7, 8, 9}
    two = np.array([sample_keys(16, rng, (0, 0, 1))[1:3] for _ in range(400)])
    assert set(two[:, 0].tolist()) == {4, 5}
    assert set(two[:, 1].tolist()) == {9, 10}
    assert sample_keys(16, rng, (1,)).tolist() == [0, 15]


def test_easing_curves_have_the_specs_shares():
    rng = np.random.default_rng(1)
    keys, values = np.array([0, 15]), np.array([2.0, 5.0])
    tau = np.arange(16) / 15
    curves = [2 + 3 * tau, 2 + 3 * tau**2, 2 + 3 * (1 - (1 - tau) ** 2)]
    counts = np.zeros(3)
    for _ in range(2000):
        got = interpolate(keys, values, rng)
        counts[[np.allclose(got, curve) for curve in curves].index(True)] += 1
    np.testing.assert_allclose(counts / 2000, [0.70, 0.15, 0.15], atol=0.035)
    np.testing.assert_allclose(interpolate(keys, values), curves[0])


def test_boxes_are_integers_inside_the_picture(drawn):
    boxes = np.stack([patches.boxes for patches in drawn])
    assert boxes.dtype == np.int64
    assert boxes.min() >= 0
    assert boxes.max() <= 112
    assert (boxes[..., 2:] - boxes[..., :2]).min() >= 6 - 1


def test_motion_statistics_match_the_spec(drawn):
    """specs/ctp.md 1.1: |center shift| mean 7.99, std 11.4, max 45.5 px; |log size change| mean .080, std .111."""
    boxes = np.stack([patches.boxes for patches in drawn]).astype(float)
    center = (boxes[..., 2:] + boxes[..., :2]) / 2
    side = boxes[..., 2:] - boxes[..., :2]
    shift = center - center[:, :, :1]
    log_scale = np.log(side / side[:, :, :1])
    assert np.abs(shift).mean() == pytest.approx(7.99, rel=0.03)
    assert shift.std() == pytest.approx(11.4, rel=0.03)
    assert np.abs(shift).max() <= 46.5
    assert np.abs(log_scale).mean() == pytest.approx(0.080, rel=0.04)
    assert log_scale.std() == pytest.approx(0.111, rel=0.04)
    area = (side.prod(axis=-1) / 112**2).mean()
    assert area == pytest.approx(0.122, rel=0.04)


def test_zero_prediction_loss_matches_the_spec(drawn):
    """Smooth L1 of the targets alone is about 19.1 + 3.24 (specs/ctp.md 1.1, Loss)."""
    boxes = np.stack([patches.boxes for patches in drawn]).astype(float)
    center, side = (boxes[..., 2:] + boxes[..., :2]) / 2, boxes[..., 2:] - boxes[..., :2]
    targets = np.abs((center - center[:, :, :1]) / 0.8), np.abs(np.log(side / side[:, :, :1]) / 0.04)
    loss = [np.where(x < 1, x**2 / 2, x - 0.5).sum(axis=-1).mean() for x in targets]
    assert loss[0] == pytest.approx(19.1, rel=0.04)
    assert loss[1] == pytest.approx(3.24, rel=0.04)


def test_patches_show_in_source_frame_frame_0_and_four_fifths_of_others(drawn):
    opacity = np.stack([patches.opacity for patches in drawn])
    source = np.stack([patches.source_frame for patches in drawn])
    shown = opacity > 0
    assert shown[:, :, 0].all()
    assert np.take_along_axis(shown, source[..., None], axis=2).all()
    free = shown & (np.arange(16) != 0) & (np.arange(16) != source[..., None])
    max_shown = ((np.arange(16) != 0) & (np.arange(16) != source[..., None])).sum()
    assert free.sum() / max_shown == pytest.approx(0.8, abs=0.005)
    assert opacity[shown].min() >= 0.8
    assert opacity.max() <= 1
    assert np.bincount(source.ravel(), minlength=16).min() > 0.8 * source.size / 16


def test_masks_have_the_specs_shapes_half_of_them_hard():
    rng = np.random.default_rng(3)
    masks = [draw_mask(rng, height=21, width=31) for _ in range(2000)]
    assert all(mask.shape == (21, 31) and mask.min() >= 0 and mask.max() <= 1 for mask in masks)
    assert all(mask[10, 15] == 1 for mask in masks)
    hard = [mask for mask in masks if set(np.unique(mask)) <= {0.0, 1.0}]
    assert len(hard) / 2000 == pytest.approx(0.5, abs=0.04)
    shares = np.array([mask.mean() for mask in hard])
    assert (shares == 1).mean() == pytest.approx(0.50, abs=0.05)  # rectangle
    assert (abs(shares - np.pi / 4) < 0.04).mean() == pytest.approx(0.35, abs=0.05)  # ellipse
    assert (abs(shares - 0.5) < 0.04).mean() == pytest.approx(0.15, abs=0.04)  # rhombus


def test_small_patches_are_pasted_last(drawn):
    for patches in drawn[:100]:
        sides = (patches.boxes[..., 2:] - patches.boxes[..., :2]).mean(axis=1)
        areas = (sides[:, 0] * sides[:, 1])[patches.paste_order]
        assert (np.diff(areas) <= 0).all()


def test_the_canvas_maps_every_visible_box_to_its_source_and_place(drawn):
    """A canvas has opacity inside the box only, and none where the patch is hidden."""
    for patches in drawn[:100]:
        arrays = PastePatches.arrays(patches)
        schema = {name: (array.shape, array.dtype.name) for name, array in arrays.items()}
        assert schema == PastePatches(3, 112).schema(views=1, frames=16)
        for place, patch in enumerate(patches.paste_order):
            height, width = arrays["patch_canvas"][place]
            frame, top, left = arrays["patch_start"][place]
            assert frame == patches.source_frame[patch]
            high, wide = cut_shape = arrays["patch_shape"][place, 1:]
            assert [left, top, left + wide, top + high] == patches.boxes[patch, frame].tolist()
            for t in range(16):
                x1, y1, x2, y2 = patches.boxes[patch, t]
                assert arrays["patch_box"][place, t].tolist() == [y1, x1, y2 - y1, x2 - x1]
                corners = np.array([[0, 0, 1], [x2 - x1, y2 - y1, 1]])
                np.testing.assert_array_equal(corners @ arrays["patch_place"][place, t].T, [(x1, y1), (x2, y2)])
                zoomed = corners @ arrays["patch_zoom"][place, t].T
                np.testing.assert_allclose(zoomed, [(0, 0), tuple(cut_shape[::-1])], rtol=1e-6)
                weight = arrays["patch_rows"][place, t, ..., 0] * arrays["patch_columns"][place, t, ..., 0]
                expected = np.zeros((112, 112))
                expected[: y2 - y1, : x2 - x1] = patches.opacity[patch, t]
                np.testing.assert_allclose(255 * weight, expected, rtol=1e-6)
                if patches.opacity[patch, t] > 0:
                    assert not expected[height:].any()
                    assert not expected[:, width:].any()
