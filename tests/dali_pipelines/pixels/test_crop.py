"""Crop regions against their closed form, and in DALI against PIL."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate

from dali_pipelines.decode.cut import Region
from dali_pipelines.pixels.crop import CropBox, CropResize
from dali_pipelines.pixels.operation import View
from dali_pipelines.plan.boxes import random_box
from dali_pipelines.plan.crops import CENTER, random_crop, scaled_crop
from tests.helpers.crops import nearest_even, scaled_part, smooth
from tests.helpers.dali import in_dali
from tests.helpers.plans import video

SIZE = 112


def exact_region(width: int, height: int, short_side: int, size: int, y: float, x: float) -> np.ndarray:
    """Return the crop in source pixels, (start, length) of rows and of columns, by specs/ctp.md 0.3."""
    stretches = []
    for side, at in ((height, y), (width, x)):
        scaled = max(round(side * (short_side / min(width, height))), size)
        stretches.append([int(at * (scaled - size + 1)) * side / scaled, size * side / scaled])
    return np.array(stretches)


def shown(
    frames: np.ndarray, crops: list[np.ndarray], view: int = 0, device: str = "cpu", *, cubic: bool = False
) -> np.ndarray:
    crop = CropResize(SIZE, cubic=cubic)
    (got,) = in_dali(crop, [frames], [crop.arrays(crops)], view=View(len(frames), (crop,), index=view), device=device)
    return got


sides, places = st.integers(1, 400), st.floats(0, 1, exclude_max=True)


@given(sides, sides, sides, st.integers(1, 240), places, places)
@example(100, 101, 110, 56, 0.99, 0.99)  # an odd side, whose last row is in no region
def test_a_region_is_even_inside_and_within_a_pixel_of_the_exact_one(width, height, short_side, size, y, x):
    """Length and start may each be off by one pixel, so the middle by one and a half."""
    crop = scaled_crop(video(30, width, height), short_side=short_side, size=size, y=y, x=x, flip=False)
    exact = exact_region(width, height, short_side, size, y, x)
    assert crop.dtype == np.float32
    for (first, last), (start, length), side in zip(crop.T, exact, (height, width), strict=True):
        assert 0 <= first < last <= side
        if side > 1:
            assert first % 2 == last % 2 == 0
        off = max(1, 2 - length)  # no region is narrower than two pixels
        assert abs(last - first - length) <= off + 1e-9
        assert abs((first + last) / 2 - (start + length / 2)) <= 1 + off / 2 + 1e-9


@pytest.mark.parametrize(
    ("width", "height", "y", "x"), [(340, 256, 0.3, 0.8), (192, 160, 0.6, 0.1), (240, 321, 0.9, 0)]
)
def test_a_region_is_the_nearest_even_one(width, height, y, x):
    crop = scaled_crop(video(30, width, height), short_side=128, size=SIZE, y=y, x=x, flip=False)
    exact = exact_region(width, height, 128, SIZE, y, x)
    for span, (start, length), side in zip(crop.T, exact, (height, width), strict=True):
        assert tuple(span) == nearest_even(start, length, side)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    ("width", "height", "cubic"),
    [(340, 256, False), (192, 160, False), (128, 128, False), (240, 321, False), (340, 256, True), (90, 70, True)],
)
def test_scaling_a_region_matches_pil_and_torch(width, height, cubic, flip, device):
    """Torch sees only the region; DALI and PIL also use pixels next to it at the border."""
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    start, end = scaled_crop(video(30, width, height), short_side=128, size=SIZE, y=0.3, x=0.8, flip=flip)
    got = shown(frames, [np.stack([start, end])], device=device, cubic=cubic)
    rows, columns = zip(start, end, strict=True)
    pils = scaled_part(frames, rows, columns, SIZE, cubic=cubic).clip(0, 255)
    near = 0.8 if cubic else 0.51  # DALI takes cubic weights from a table
    np.testing.assert_allclose(got, pils, rtol=0, atol=near)
    (top, bottom), (left, right) = (sorted(map(int, ends)) for ends in (rows, columns))
    region = torch.from_numpy(frames[:, top:bottom, left:right]).permute(0, 3, 1, 2).double()
    mode = "bicubic" if cubic else "bilinear"
    theirs = interpolate(region, (SIZE, SIZE), mode=mode, antialias=True).permute(0, 2, 3, 1).numpy().clip(0, 255)
    theirs = theirs[:, :, ::-1] if flip else theirs
    inside = slice(4, -4)
    np.testing.assert_allclose(got[:, inside, inside], theirs[:, inside, inside], rtol=0, atol=near)


def test_each_view_has_its_own_region():
    frames = np.random.default_rng(1).integers(0, 256, (2, 160, 200, 3), dtype=np.uint8)
    crops = [scaled_crop(video(30, 200, 160), short_side=128, size=SIZE, y=y, x=0.5, flip=bool(y)) for y in (0, 0.9)]
    views = [shown(frames, crops, view) for view in range(2)]
    for view, crop in zip(views, crops, strict=True):
        assert (view == shown(frames, [crop])).all()
    assert (views[0] != views[1]).any()


def test_host_and_dali_use_the_same_region():
    crops = [
        scaled_crop(video(30, 240, 160), short_side=128, size=112, y=0, x=0.5, flip=flip) for flip in (False, True)
    ]
    (top, left), (bottom, right) = crops[0].astype(int)
    crop, box = CropResize(112), (top, left, bottom - top, right - left)
    for index, mirror in enumerate((False, True)):
        region = crop.host(crop.arrays(crops), View(2, (crop,), index=index))
        assert region == Region(box=box, size=112, mirror=mirror)
    cut = CropBox(32, cubic=True)
    plan = cut.arrays([(1, 2, 50, 60), (3, 4, 70, 80)], np.array([False, True]))
    assert cut.host(plan, View(2, (cut,), index=1)) == Region(box=(3, 4, 70, 80), size=32, mirror=True, cubic=True)


def test_center_crop_has_equal_margins_with_the_smaller_first():
    """floor((H - size) / 2) as in specs/ctp.md 0.3."""
    for width, height in [(168, 128), (160, 112), (128, 152)]:
        place = {"y": CENTER, "x": CENTER, "flip": False}
        (top, left), (bottom, right) = scaled_crop(
            video(30, width, height), short_side=min(width, height), size=SIZE, **place
        )
        assert (top, left) == ((height - SIZE) // 2, (width - SIZE) // 2)
        assert (bottom, right) == (top + SIZE, left + SIZE)
    (_, left), _ = scaled_crop(video(30, 262, 224), short_side=112, size=SIZE, y=0, x=CENTER, flip=False)
    assert left == 2 * ((131 - SIZE) // 2)  # an odd margin


def test_random_crops_cover_scales_places_and_flips_evenly():
    """17 places in whole pixels become 9 even ones: one end gets one of them, the others two each."""
    rng = np.random.default_rng(0)
    crops = np.stack(
        [random_crop(video(30, 128, 128), rng, short_sides=(112, 128), size=SIZE, flip_prob=0.5) for _ in range(4000)]
    )
    flipped = crops[:, 0, 1] > crops[:, 1, 1]
    assert flipped.mean() == pytest.approx(0.5, abs=0.04)
    full = crops[:, 1, 0] - crops[:, 0, 0] > 120  # at scale 112 the crop is the whole picture
    assert full.mean() == pytest.approx(0.5, abs=0.04)
    tops, counts = np.unique(crops[~full, 0, 0], return_counts=True)
    assert tops.tolist() == list(range(0, 17, 2))
    assert counts / counts.sum() == pytest.approx(np.array([1, *[2] * 8]) / 17, abs=0.03)


def test_a_small_picture_is_scaled_up_to_the_crop():
    (top, left), (bottom, right) = scaled_crop(video(30, 40, 20), short_side=64, size=SIZE, y=0, x=0, flip=False)
    assert (top, left, bottom) == (0, 0, 20)
    assert right <= 40


# Boxes.


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("cubic", [False, True])
def test_crop_box_matches_pil(cubic, mirror, device):
    clip = smooth(2, 120, 160)
    y, x, h, w = 11, 30, 90, 101
    crop = CropBox(48, cubic=cubic)
    plan = crop.arrays([(0, 0, 20, 20), (y, x, h, w)], np.array([not mirror, mirror]))
    (got,) = in_dali(crop, [clip], [plan], view=View(2, (crop,), index=1), device=device)
    kind = Image.Resampling.BICUBIC if cubic else Image.Resampling.BILINEAR
    for frame, picture in zip(got, clip, strict=True):
        theirs = np.asarray(Image.fromarray(picture[y : y + h, x : x + w]).resize((48, 48), kind)).astype(int)
        theirs = theirs[:, ::-1] if mirror else theirs
        assert np.abs(frame.astype(int) - theirs).max() <= 2


def test_a_box_is_cut_exactly_and_black_outside_the_picture(device):
    clip = np.full((1, 40, 40, 3), 255, np.uint8)
    clip[:, 10:30, 10:30] = 100
    boxes = [(10, 10, 20, 20), (30, 0, 20, 40)]
    plans = [CropBox.arrays([box], np.array([False])) for box in boxes]
    inside, partly_outside = in_dali(CropBox(16), [clip] * 2, plans, device=device)
    assert (inside == 100).all()
    assert (partly_outside[:, :7] == 255).all()
    assert (partly_outside[:, 9:] == 0).all()


def test_random_boxes_have_the_stated_area_and_aspect():
    rng = np.random.default_rng(2)
    boxes = np.array([random_box(240, 320, rng, area=(0.5, 1)) for _ in range(4000)])
    y, x, h, w = boxes.T
    assert not (boxes % 2).any()
    assert (y >= 0).all() and (x >= 0).all() and (y + h <= 240).all() and (x + w <= 320).all()  # noqa: PT018
    share = h * w / (240 * 320)
    assert 0.49 < share.min() < 0.51
    assert share.max() > 0.95
    assert ((w / h > 0.74) & (w / h < 1.35)).all()
    assert random_box(10, 1000, rng, area=(0.9, 1)) == (0, 494, 10, 10)  # nothing fits, so the center square
