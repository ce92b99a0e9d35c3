"""Blur on the host against DALI and against sums over a padded picture."""

import numpy as np
import pytest

from dali_pipelines.pixels.blur import GaussianBlur
from dali_pipelines.pixels.operation import View
from tests.helpers.dali import in_dali, on_host


def slow_blur(picture: np.ndarray, sigma: float) -> np.ndarray:
    """Sum each pixel's window, with the picture reflected about its border pixels: float64 (H, W, 3)."""
    reach = int(np.ceil(3 * sigma))
    d = np.arange(-reach, reach + 1)
    window = np.exp(-(d[:, None] ** 2 + d**2) / (2 * sigma**2))
    padded = np.pad(picture.astype(float), ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    height, width, _ = picture.shape
    shifted = (
        window[i, j] * padded[i : i + height, j : j + width] for i in range(len(window)) for j in range(len(window))
    )
    return sum(shifted) / window.sum()


@pytest.mark.parametrize("sigma", [0.0, 0.1, 0.3, 0.7, 1.0, 1.7, 2.0])
def test_blur_matches_dali_and_a_slow_sum(sigma, device):
    noise = np.random.default_rng(3).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    plan, view = {"sigma": np.array([2 - sigma, sigma], np.float32)}, View(1, (), index=1)
    (got,) = on_host(GaussianBlur(), noise[None], plan, view=view)
    assert np.abs(got - (slow_blur(noise, sigma) if sigma else noise)).max() < 0.501
    (theirs,) = in_dali(GaussianBlur(), [noise[None]], [plan], view=view, device=device)
    difference = np.abs(got.astype(int) - theirs[0])
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
    assert (got != noise).any() == (sigma > 0.2)
