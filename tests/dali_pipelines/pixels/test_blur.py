"""The blur beside the decoder against DALI's, and against sums over a padded picture."""

import numpy as np
import pytest
from nvidia.dali import fn

from dali_pipelines.plan.cuts import Cut, Cuts
from dali_pipelines.store.blur import blur
from tests.helpers.dali import run_graph


def slow(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Each pixel from all in its window, the picture reflected about its border pixels; float64 (H, W, 3)."""
    reach = int(np.ceil(3 * sigma))
    d = np.arange(-reach, reach + 1)
    window = np.exp(-(d[:, None] ** 2 + d**2) / (2 * sigma**2))
    padded = np.pad(picture.astype(float), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    height, width, _ = picture.shape
    shifted = (
        window[i, j] * padded[i : i + height, j : j + width] for i in range(len(window)) for j in range(len(window))
    )
    return sum(shifted) / window.sum()


@pytest.mark.parametrize("sigma", [0.1, 0.3, 0.7, 1.0, 1.7, 2.0])
def test_blurred_as_by_dali_and_as_by_a_sum_over_the_window(sigma):
    noise = np.random.default_rng(3).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    got = noise.copy()
    blur(got, sigma)
    assert np.abs(got - slow(noise, sigma)).max() < 0.501
    graph = run_graph(lambda n: fn.gaussian_blur(n["clip"], sigma=sigma), [{"clip": noise[None]}], {"clip": "FHWC"})
    difference = np.abs(got.astype(int) - graph[0][0])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
    assert (got != noise).any() == (sigma > 0.2)


def test_a_cut_has_the_blur_of_its_view_unless_it_is_made_elsewhere():
    plan = {
        "box_start": np.zeros((2, 2)),
        "box_shape": np.full((2, 2), 8),
        "box_mirror": np.zeros(2),
        "sigma": np.float32([0, 1.5]),
    }
    cuts = Cuts(8, (3, 3), recolor=True)
    assert cuts.of(plan)[1] == Cut(3, 6, (0, 0, 8, 8), 8, mirror=False, cubic=False, sigma=1.5)
    assert [cut.sigma for cut in cuts.of(plan)] == [0, 1.5]
    assert [cut.sigma for cut in cuts.of(plan, finish=False)] == [0, 0]
