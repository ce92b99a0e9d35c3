"""Turns in NumPy against numpy's rot90, DALI's graph and PIL."""

import numpy as np
import pytest
from PIL import Image

from dali_pipelines.graph.geometry import turn
from dali_pipelines.store.turn import Turn
from tests.helpers.dali import run_graph


def picture(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(1, 256, (size, size, 3), dtype=np.uint8)


@pytest.mark.parametrize("quarters", range(4))
def test_quarters_are_numpys_rot90(quarters):
    plane = picture(16)[..., 0]
    np.testing.assert_array_equal(Turn(16, quarters, 0.0)(plane), np.rot90(plane, quarters))


@pytest.mark.parametrize("size", [48, 49])
@pytest.mark.parametrize(("quarters", "degrees"), [(0, 7.3), (1, -9.9), (2, 0.4), (3, 10.0)])
def test_a_turn_is_dalis_and_pils_but_for_ties_of_the_nearest_pixel(size, quarters, degrees):
    pixels = picture(size)
    ours = np.stack([Turn(size, quarters, degrees)(pixels[..., c]) for c in range(3)], axis=-1)
    sample = {"clip": pixels[None], "quarters": np.float32([quarters]), "degrees": np.float32([degrees])}
    (theirs,) = run_graph(lambda n: turn(n["clip"], n, 0), [sample], {"clip": "FHWC"})
    assert (ours == theirs[0]).all(-1).mean() > 0.999
    pils = np.asarray(Image.fromarray(np.rot90(pixels, quarters).copy()).rotate(degrees))
    assert (ours == pils).all(-1).mean() > 0.97
    if abs(degrees) > 5:
        assert (ours[0, 0] == 0).all()  # a corner that opened
        assert (ours[size // 2, size // 2] > 0).all()
