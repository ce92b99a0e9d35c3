"""Crop regions against their closed form, and in DALI against PIL."""

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from dali_pipelines.graph.geometry import crop_resize
from dali_pipelines.plan.crops import CENTER, random_crop, scaled_crop
from dali_pipelines.store.index import VideoInfo
from tests.helpers.crops import nearest_even, scaled_part
from tests.helpers.dali import run_graph

SIZE = 112


def video(width: int, height: int) -> VideoInfo:
    return VideoInfo("v", 30, width, height, 25.0, 0)


def exact_region(width: int, height: int, short_side: int, size: int, y: float, x: float) -> np.ndarray:
    """The crop of the scaled picture in source pixels, rows and columns of (start, length), as specs/ctp.md 0.3."""
    stretches = []
    for side, at in ((height, y), (width, x)):
        scaled = max(round(side * (short_side / min(width, height))), size)
        stretches.append([int(at * (scaled - size + 1)) * side / scaled, size * side / scaled])
    return np.array(stretches)


def shown(frames: np.ndarray, plan: dict[str, np.ndarray], view: int | None = None, device: str = "cpu") -> np.ndarray:
    sample = {"frames": frames, **plan}
    (got,) = run_graph(lambda n: crop_resize(n["frames"], n, view, size=SIZE), [sample], {"frames": "FHWC"}, device)
    return got


sides, places = st.integers(1, 400), st.floats(0, 1, exclude_max=True)


@given(sides, sides, sides, st.integers(1, 240), places, places)
@example(100, 101, 110, 56, 0.99, 0.99)  # an odd side, whose last row no region has
def test_a_region_is_within_a_pixel_of_the_exact_one_even_and_inside(width, height, short_side, size, y, x):
    """The length within one pixel, and so the middle within one and a half: the start may be off by one, too."""
    crop = scaled_crop(video(width, height), short_side=short_side, size=size, y=y, x=x, flip=False)
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
def test_a_region_is_the_nearest_of_all_even_ones(width, height, y, x):
    crop = scaled_crop(video(width, height), short_side=128, size=SIZE, y=y, x=x, flip=False)
    exact = exact_region(width, height, 128, SIZE, y, x)
    for stretch, (start, length), side in zip(crop.T, exact, (height, width), strict=True):
        assert tuple(stretch) == nearest_even(start, length, side)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("width", "height"), [(340, 256), (192, 160), (128, 128), (240, 321), (90, 70)])
def test_a_region_is_scaled_as_by_pil_to_rounding_and_as_by_torch_inside(width, height, flip, device):
    """Torch has the region alone; DALI and PIL use the pixels beside it for the outermost ones."""
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    start, end = scaled_crop(video(width, height), short_side=128, size=SIZE, y=0.3, x=0.8, flip=flip)
    got = shown(frames, {"crop_start": start, "crop_end": end}, device=device)
    np.testing.assert_allclose(got, scaled_part(frames, *zip(start, end, strict=True), SIZE), rtol=0, atol=0.51)
    (top, bottom), (left, right) = (sorted(map(int, ends)) for ends in zip(start, end, strict=True))
    region = torch.from_numpy(frames[:, top:bottom, left:right]).permute(0, 3, 1, 2).double()
    theirs = interpolate(region, (SIZE, SIZE), mode="bilinear", antialias=True).permute(0, 2, 3, 1).numpy()
    theirs = theirs[:, :, ::-1] if flip else theirs
    inside = slice(2, -2)
    np.testing.assert_allclose(got[:, inside, inside], theirs[:, inside, inside], rtol=0, atol=0.51)


def test_each_view_has_its_own_region_and_frames_without_any_are_left_alone():
    frames = np.random.default_rng(1).integers(0, 256, (2, 160, 200, 3), dtype=np.uint8)
    crops = [scaled_crop(video(200, 160), short_side=128, size=SIZE, y=y, x=0.5, flip=bool(y)) for y in (0, 0.9)]
    plan = dict(zip(("crop_start", "crop_end"), np.stack(crops, axis=1), strict=True))
    views = [shown(frames, plan, view) for view in range(2)]
    for view, (start, end) in zip(views, crops, strict=True):
        assert (view == shown(frames, {"crop_start": start, "crop_end": end})).all()
    assert (views[0] != views[1]).any()
    assert (shown(frames, {}) == frames).all()


def test_the_center_crop_leaves_equal_margins_and_the_smaller_one_first():
    """floor((H - size) / 2) as in specs/ctp.md 0.3."""
    for width, height in [(168, 128), (160, 112), (128, 152)]:
        place = {"y": CENTER, "x": CENTER, "flip": False}
        (top, left), (bottom, right) = scaled_crop(
            video(width, height), short_side=min(width, height), size=SIZE, **place
        )
        assert (top, left) == ((height - SIZE) // 2, (width - SIZE) // 2)
        assert (bottom, right) == (top + SIZE, left + SIZE)
    (_, left), _ = scaled_crop(video(262, 224), short_side=112, size=SIZE, y=0, x=CENTER, flip=False)
    assert left == 2 * ((131 - SIZE) // 2)  # an odd margin


def test_random_crops_use_every_scale_place_and_side_evenly():
    """Places of 17 whole pixels become even: two of them share each one but one of the ends."""
    rng = np.random.default_rng(0)
    crops = np.stack(
        [random_crop(video(128, 128), rng, short_sides=(112, 128), size=SIZE, flip_prob=0.5) for _ in range(4000)]
    )
    flipped = crops[:, 0, 1] > crops[:, 1, 1]
    assert flipped.mean() == pytest.approx(0.5, abs=0.04)
    full = crops[:, 1, 0] - crops[:, 0, 0] > 120  # scaled to 112: the crop is the whole picture
    assert full.mean() == pytest.approx(0.5, abs=0.04)
    tops, counts = np.unique(crops[~full, 0, 0], return_counts=True)
    assert tops.tolist() == list(range(0, 17, 2))
    assert counts / counts.sum() == pytest.approx(np.array([1, *[2] * 8]) / 17, abs=0.03)


def test_a_picture_smaller_than_the_crop_is_scaled_up_to_it():
    (top, left), (bottom, right) = scaled_crop(video(40, 20), short_side=64, size=SIZE, y=0, x=0, flip=False)
    assert (top, left, bottom) == (0, 0, 20)
    assert right <= 40
