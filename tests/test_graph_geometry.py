"""Crop regions in DALI against scaling the whole picture with torch and slicing it."""

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from dali_pipelines.graph.geometry import crop_resize
from dali_pipelines.plan.crops import CENTRE, random_crop, scaled_crop
from dali_pipelines.store.index import VideoInfo
from tests.dali import run_graph

SIZE = 112


def video(width: int, height: int) -> VideoInfo:
    return VideoInfo("v", 30, width, height, 25.0, 0)


def scaled(frames: np.ndarray, short_side: int) -> np.ndarray:
    """Bilinear without antialiasing to a short side, by torch; float (T, H, W, 3)."""
    height, width = frames.shape[1:3]
    scale = short_side / min(height, width)
    pixels = torch.from_numpy(frames).permute(0, 3, 1, 2).double()
    shape = (round(height * scale), round(width * scale))
    return interpolate(pixels, shape, mode="bilinear", align_corners=False).permute(0, 2, 3, 1).numpy()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("width", "height"), [(340, 256), (192, 160), (128, 128), (240, 321)])
def test_a_crop_region_shows_the_same_pixels_as_scaling_then_slicing(width, height, flip):
    frames = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    whole = scaled(frames, 128)
    y, x = 0.3, 0.8
    crop = scaled_crop(video(width, height), short_side=128, size=SIZE, y=y, x=x, flip=flip)
    top, left = (int(at * (side - SIZE + 1)) for at, side in zip((y, x), whole.shape[1:3], strict=True))
    expected = whole[:, top : top + SIZE, left : left + SIZE]
    (got,) = run_graph(
        lambda n: crop_resize(n["frames"], n["start"], n["end"], size=SIZE),
        [{"frames": frames, "start": crop[0], "end": crop[1]}],
        {"frames": "FHWC"},
    )
    assert np.abs(got - (expected[:, :, ::-1] if flip else expected)).max() <= 1.01


def test_the_centre_crop_leaves_equal_margins_and_the_smaller_one_first():
    """floor((H - size) / 2) as in specs/ctp.md 0.3."""
    for width, height in [(171, 128), (170, 128), (128, 149)]:
        place = {"y": CENTRE, "x": CENTRE, "flip": False}
        (top, left), (bottom, right) = scaled_crop(video(width, height), short_side=128, size=SIZE, **place)
        assert (top, left) == ((height - SIZE) // 2, (width - SIZE) // 2)
        assert (bottom, right) == (top + SIZE, left + SIZE)


def test_random_crops_use_every_scale_place_and_side_evenly():
    rng = np.random.default_rng(0)
    crops = np.stack(
        [random_crop(video(128, 128), rng, short_sides=(112, 128), size=SIZE, flip_prob=0.5) for _ in range(2000)]
    )
    flipped = crops[:, 0, 1] > crops[:, 1, 1]
    assert flipped.mean() == pytest.approx(0.5, abs=0.04)
    full = crops[:, 1, 0] - crops[:, 0, 0] > 120  # scaled to 112: the crop is the whole picture
    assert full.mean() == pytest.approx(0.5, abs=0.04)
    tops = np.unique(crops[~full, 0, 0])
    assert tops.tolist() == list(range(17))


def test_a_picture_smaller_than_the_crop_is_scaled_up_to_it():
    (top, left), (bottom, right) = scaled_crop(video(40, 20), short_side=64, size=SIZE, y=0, x=0, flip=False)
    assert (top, left, bottom) == (0, 0, 20)
    assert right <= 40
