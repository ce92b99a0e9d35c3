"""Rotations in DALI and on the host against numpy's rot90 and PIL."""

import numpy as np
import pytest
from PIL import Image

from dali_pipelines.pixels.operation import View
from dali_pipelines.pixels.rotate import Rot90, Rotate
from tests.helpers.crops import smooth
from tests.helpers.dali import in_dali, on_host


def picture(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("num_turns", range(4))
def test_rot90_matches_numpy_on_host_and_dali(num_turns, size, device):
    clip = np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    plan, view = {"rot90": np.array([3, num_turns], np.float32)}, View(2, (), index=1)
    (got,) = in_dali(Rot90(), [clip], [plan], view=view, device=device)
    assert (on_host(Rot90(), clip, plan, view=view) == got).all()
    assert (got == np.rot90(clip, num_turns, axes=(1, 2))).all()


def test_dalis_rotation_matches_pil_up_to_ties(device):
    clip = smooth(1, 64, 64)
    (got,) = in_dali(Rotate(), [clip], [{"degrees": np.array([7.3], np.float32)}], device=device)
    theirs = np.asarray(Image.fromarray(clip[0]).rotate(7.3))
    assert (got[0] == theirs).all(-1).mean() > 0.97
    assert (got[0, 0, 0] == 0).all()  # a corner that opened


@pytest.mark.parametrize("size", [48, 49])
@pytest.mark.parametrize(("quarter_turns", "degrees"), [(0, 7.3), (1, -9.9), (2, 0.4), (3, 10.0)])
def test_host_rotation_matches_dali_and_pil_up_to_ties(size, quarter_turns, degrees):
    pixels = picture(size)
    upright, plan = np.rot90(pixels, quarter_turns)[None].copy(), {"degrees": np.array([degrees], np.float32)}
    (ours,) = on_host(Rotate(), upright, plan)
    (theirs,) = in_dali(Rotate(), [upright], [plan])
    assert (ours == theirs[0]).all(-1).mean() > 0.999
    pils = np.asarray(Image.fromarray(np.rot90(pixels, quarter_turns).copy()).rotate(degrees))
    assert (ours == pils).all(-1).mean() > 0.97
    if abs(degrees) > 5:
        assert (ours[0, 0] == 0).all()  # a corner that opened
        assert (ours[size // 2, size // 2] > 0).all()
