"""Color in DALI against slow arithmetic and true HSV, and on the host against DALI."""

import numpy as np
import pytest
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv

from dali_pipelines.pixels.color import BrightnessContrast, Recolor
from dali_pipelines.pixels.normalize import MEAN, STD, normalize
from dali_pipelines.plan import color_map as maps
from dali_pipelines.plan.jitter import hue_saturation, varying
from tests.helpers.dali import in_dali, on_host, run_graph

T = 5
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.321], [0.211, -0.523, 0.311]])


def pictures(seed: int, saturation: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    hsv = rng.random((T, 16, 16, 3)) * [1, saturation, 0.8] + [0, 0, 0.1]
    return np.rint(255 * hsv_to_rgb(hsv)).astype(np.uint8)


def changed(clips: list[np.ndarray], brightness: np.ndarray, contrast: np.ndarray, device: str) -> list[np.ndarray]:
    pairs = zip(brightness.astype(np.float32), contrast.astype(np.float32), strict=True)
    return in_dali(BrightnessContrast(), clips, [{"brightness": b, "contrast": c} for b, c in pairs], device=device)


def test_brightness_and_contrast_clamp_after_each_step(device):
    """specs/ctp.md 0.3: x + b, clipped, then x c, clipped. Each step rounds by half a level, the first one times c."""
    clip = np.random.default_rng(0).integers(0, 256, (T, 16, 16, 3), dtype=np.uint8)
    b, c = np.array([[0, 80.3, -80.6, 60.2, -30.9], [1, 0.7, 1.3, 1.2, 0.9]])
    (got,) = changed([clip], b[None], c[None], device)
    b, c = b.reshape(T, 1, 1, 1), c.reshape(T, 1, 1, 1)
    expected = np.clip(np.clip(clip + b, 0, 255) * c, 0, 255)
    ours = on_host(BrightnessContrast(), clip, {"brightness": b.ravel(), "contrast": c.ravel()})
    for made in (got, ours):
        assert made.dtype == np.uint8
        assert (np.abs(made - expected) <= 0.5 * c + 0.5 + 1e-3).all()  # the products are floats
    assert np.abs(ours.astype(int) - got).max() <= 1


def test_unchanged_clips_and_frames_of_a_batch_stay_bit_identical(device):
    clip = pictures(3)
    zeros, shift = np.zeros(T), np.array([0, 0, -20, 0, 0])
    brightness, contrast = (
        np.stack([zeros, shift, zeros, shift]),
        np.stack([zeros, zeros, shift / 100, shift / 100]) + 1,
    )
    plain, darker, flatter, both = changed([clip] * 4, brightness, contrast, device)
    np.testing.assert_array_equal(plain, clip)
    for got in (darker, flatter, both):
        same = (got == clip).all(axis=(1, 2, 3))
        np.testing.assert_array_equal(same, shift == 0)
    assert not np.array_equal(darker, both)
    assert not np.array_equal(flatter, both)


def test_normalize_uses_imagenets_mean_and_std(device):
    clip = pictures(0)
    (got,) = run_graph(
        lambda n: normalize(n["clips"], size=clip.shape[2]), [{"clips": clip}], {"clips": "FHWC"}, device
    )
    np.testing.assert_allclose(got, (clip / 255 - MEAN) / STD, atol=1e-5)


def change_hue(clip: np.ndarray, hue: float, saturation: float) -> np.ndarray:
    change = maps.saturation(saturation).then(maps.hue(hue))
    (got,) = in_dali(Recolor(), [clip], [Recolor.arrays([change] * len(clip))])
    return got


def test_hue_rotates_i_and_q_then_rounds_and_clamps():
    """The corners of the color cube rotate out of it. The NTSC matrix has three digits."""
    clip = np.stack(np.meshgrid(*[np.array([0, 90, 255], np.uint8)] * 3), axis=-1).reshape(1, 3, 9, 3)
    angle = np.deg2rad(24)
    rotation = np.array([[1, 0, 0], [0, np.cos(angle), np.sin(angle)], [0, -np.sin(angle), np.cos(angle)]])
    mapped = clip @ (np.linalg.inv(YIQ) @ (rotation * [[1], [1.1], [1.1]]) @ YIQ).T
    assert mapped.min() < -100
    assert mapped.max() > 350
    got = change_hue(clip, 24, 1.1)
    assert got.dtype == np.uint8
    assert np.abs(got - np.clip(mapped, 0, 255)).max() < 0.5 + 255 * 3 * 0.002


def in_hsv(clip: np.ndarray, hue: float, saturation: float) -> np.ndarray:
    """Apply the same change in true HSV, by matplotlib; the hue wraps around."""
    hsv = rgb_to_hsv(clip / 255)
    hsv[..., 0] = (hsv[..., 0] + hue / 360) % 1
    hsv[..., 1] = np.clip(hsv[..., 1] * saturation, 0, 1)
    return 255 * hsv_to_rgb(hsv)


@pytest.mark.parametrize("hue", [-24, 24])
@pytest.mark.parametrize("saturation", [np.exp(-0.1), np.exp(0.1)])
def test_linear_hue_stays_within_the_stated_distance_of_hsv(hue, saturation):
    """At the ends of CtP's range and half saturation: a mean below 5 levels, a maximum below 50."""
    clip = pictures(2, saturation=0.5)
    got = change_hue(clip, hue, saturation).astype(float)
    difference = np.abs(got - in_hsv(clip, hue, saturation))
    assert difference.mean() < 5
    assert difference.max() < 50
    assert difference.mean() < np.abs(got - in_hsv(clip, -hue, saturation)).mean() / 2  # it turns the right way


def test_color_factors_have_the_specs_shares_and_ranges():
    rng = np.random.default_rng(0)
    drawn = [hue_saturation(rng, prob=0.25, degrees=24, log_saturation=0.1) for _ in range(4000)]
    tints = np.array([YIQ @ one.matrix @ np.linalg.inv(YIQ) for one in drawn if one is not maps.IDENTITY])
    assert abs(len(tints) / 4000 - 0.25) < 0.03
    hue = np.rad2deg(np.arctan2(tints[:, 1, 2], tints[:, 1, 1]))
    log_saturation = np.log(np.hypot(tints[:, 1, 2], tints[:, 1, 1]))
    for values, reach in ((hue, 24), (log_saturation, 0.1)):
        low, middle, high = np.quantile(values, [0.01, 0.5, 0.99])
        assert abs(middle) < 0.1 * reach
        assert 0.95 * reach < min(-low, high) < max(-low, high) < 1.01 * reach  # YIQ's coefficients have three digits
    assert abs(np.corrcoef(hue, log_saturation)[0, 1]) < 0.1
    brightness = np.stack([varying(rng, length=16, prob=0.5, reach=30, factor=False) for _ in range(2000)])
    assert abs((brightness != 0).any(axis=1).mean() - 0.5) < 0.05
    assert 25 < np.abs(brightness).max() <= 30
    contrast = np.stack([varying(rng, length=16, prob=0.5, reach=0.12, factor=True) for _ in range(2000)])
    assert abs((contrast != 1).any(axis=1).mean() - 0.5) < 0.05
    assert np.exp(-0.12) <= contrast.min() < contrast.max() <= np.exp(0.12)


SHIFTED = maps.ColorMap(np.eye(3), 0 * np.eye(3), np.array([5.0, 0, -5]))
MAPS = {
    "gain": maps.gain(1.3),
    "shift": maps.shift(-40.5),
    "hue": maps.hue(33),
    "gray": maps.saturation(0.0),
    "channels": SHIFTED,
    "contrast": maps.contrast(0.4),
    "all": maps.compose([maps.gain(0.8), maps.contrast(1.4), maps.saturation(1.5), maps.hue(-60), SHIFTED]),
}


@pytest.mark.parametrize("name", MAPS)
def test_recolor_on_the_host_matches_dali(name):
    picture = np.random.default_rng(0).integers(0, 256, (1, 30, 50, 3), dtype=np.uint8)
    plan = Recolor.arrays([MAPS[name]])
    (theirs,) = in_dali(Recolor(), [picture], [plan])
    ours = on_host(Recolor(), picture, plan)
    assert (ours.dtype, ours.shape) == (np.dtype(np.uint8), picture.shape)
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 1  # values near one half, summed in another order
    assert difference.mean() < 0.01
    assert np.abs(ours.astype(int) - picture).mean() > 1


def test_recolor_rounds_to_nearest_and_clamps():
    levels = np.arange(256, dtype=np.uint8)[None, None, :, None].repeat(3, axis=3)
    for shift in (-0.4, 0.4, 0.6, 300, -300):
        expected = np.clip(np.rint(np.arange(256) + shift), 0, 255)
        assert (on_host(Recolor(), levels, Recolor.arrays([maps.shift(shift)])) == expected[:, None]).all()
