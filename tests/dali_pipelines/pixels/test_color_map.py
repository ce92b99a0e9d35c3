"""Color maps in DALI against their formula, and within stated differences of PIL's 8-bit arithmetic."""

from itertools import permutations

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from dali_pipelines.pixels.color import MIXED, SCALED, WITH_MEAN, Recolor
from dali_pipelines.plan import color_map as maps
from dali_pipelines.plan.color_map import ColorMap, compose
from dali_pipelines.plan.jitter import jitter, mild_jitter, random_gray
from tests.helpers.dali import in_dali

EDGE = np.array([5.0, 5, -5])


def picture(seed: int, size: int = 48) -> np.ndarray:
    """Return smooth colors with fine noise, in a photo's range: uint8 (size, size, 3)."""
    rng = np.random.default_rng(seed)
    low = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize(
        (size, size), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(low) + rng.normal(0, 8, (size, size, 3)), 0, 255).astype(np.uint8)


def in_numpy(frame: np.ndarray, color: ColorMap) -> np.ndarray:
    moved = color.pivot @ frame.reshape(-1, 3).mean(0) + color.offset
    return np.clip(frame @ color.matrix.T + moved, 0, 255)


def hue_in_numpy(image: Image.Image, degrees: float) -> Image.Image:
    h, s, v = image.convert("HSV").split()
    turned = (np.asarray(h).astype(int) + round(degrees / 360 * 255)) % 256
    return Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), s, v)).convert("RGB")


PIL = {
    maps.gain: lambda image, f: ImageEnhance.Brightness(image).enhance(f),
    maps.contrast: lambda image, f: ImageEnhance.Contrast(image).enhance(f),
    maps.saturation: lambda image, f: ImageEnhance.Color(image).enhance(f),
    maps.hue: hue_in_numpy,
}


KINDS: dict[int, list[ColorMap]] = {
    0: [maps.IDENTITY, maps.gain(1.0), maps.shift(0), maps.contrast(1.0), maps.saturation(1.0)],
    SCALED: [maps.gain(0.6), maps.gain(1.5), maps.shift(17), maps.shift(-40.5), maps.shift(-3).then(maps.gain(2))],
    MIXED: [maps.hue(20), maps.saturation(0.4), maps.channel_gray(2), ColorMap(np.eye(3), 0 * np.eye(3), EDGE)],
    WITH_MEAN: [maps.contrast(0.5), maps.hue(40).then(maps.contrast(1.3)), maps.contrast(1.2).then(maps.shift(9))],
}


def test_each_map_has_the_simplest_kind():
    for kind, found in KINDS.items():
        arrays = Recolor.arrays(found)
        assert arrays["color_kind"].tolist() == [kind] * len(found)
        schema = Recolor().schema(views=1, frames=len(found))
        assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == schema


@pytest.mark.parametrize("kind", [*KINDS, "any"])
def test_every_kind_matches_its_formula_alone_and_mixed(kind, device):
    """One batch has clips of one map each, and a clip whose frames have all of them and all simpler ones."""
    every = [color for number, found in KINDS.items() if kind == "any" or number <= kind for color in found]
    samples = [[color] for color in (every if kind == "any" else KINDS[kind])] + [every]
    clips = [np.stack([picture(seed) for seed in range(len(colors))]) for colors in samples]
    results = in_dali(Recolor(), clips, [Recolor.arrays(colors) for colors in samples], device=device)
    for clip, colors, result in zip(clips, samples, results, strict=True):
        assert result.dtype == np.uint8
        for frame, color, got in zip(clip, colors, result, strict=True):
            np.testing.assert_allclose(got, in_numpy(frame, color), rtol=0, atol=0.51)
            if not Recolor.arrays([color])["color_kind"].any():
                assert (got == frame).all()


@pytest.mark.parametrize("first", range(4))
def test_compose_applies_maps_in_order(first):
    steps = [maps.gain(0.7), maps.contrast(1.2), maps.saturation(0.6), maps.hue(40), maps.shift(5)]
    steps = steps[first:] + steps[:first]
    frame = picture(3) * 0.2 + 100  # no value is clamped
    one_by_one = frame
    for step in steps:
        one_by_one = in_numpy(one_by_one, step)
    np.testing.assert_allclose(in_numpy(frame, compose(steps)), one_by_one, atol=1e-6)


@pytest.mark.parametrize("operation", [maps.gain, maps.contrast, maps.saturation])
@pytest.mark.parametrize("factor", [0.5, 0.8, 1.3, 1.5])
def test_single_operations_match_pil(operation, factor):
    frame = picture(4)
    theirs = np.asarray(PIL[operation](Image.fromarray(frame), factor)).astype(float)
    np.testing.assert_allclose(in_numpy(frame, operation(factor)), theirs, atol=1.6)


def deviation(size: float, hue: float) -> np.ndarray:
    """Return the mean absolute difference from PIL, in gray levels, of 200 jitters of these sizes."""
    rng, found = np.random.default_rng(1), []
    for number in range(200):
        frame = picture(number)
        values = dict(zip(PIL, [*rng.uniform(1 - size, 1 + size, 3), rng.uniform(-hue, hue)], strict=True))
        image, chosen = Image.fromarray(frame), []
        for i in rng.permutation(4 if hue else 3):
            operation = list(PIL)[i]
            image = PIL[operation](image, values[operation])
            chosen.append(operation(values[operation]))
        found.append(np.abs(in_numpy(frame, compose(chosen)) - np.asarray(image)).mean())
    return np.array(found)


def test_jitter_without_hue_is_close_to_pil():
    assert deviation(0.5, 0).mean() < 3
    assert deviation(0.4, 0).mean() < 2.5


def test_hue_differs_from_pil_by_the_stated_amount():
    # These pictures have strong colors; on frames of real videos the means are 4 and 6 levels.
    assert 8 < deviation(0.4, 36).mean() < 13  # CSTP's range
    assert 15 < deviation(0.5, 90).mean() < 22  # range of Concepts and CPC, at most a quarter turn


def test_gray_copies_one_channel_and_saturation_0_is_luma():
    frame = picture(5).astype(float)
    np.testing.assert_allclose(in_numpy(frame, maps.channel_gray(1)), frame[..., [1, 1, 1]])
    luma = np.asarray(Image.fromarray(frame.astype(np.uint8)).convert("L"))
    np.testing.assert_allclose(in_numpy(frame, maps.saturation(0)), np.repeat(luma[..., None], 3, -1), atol=0.6)
    drawn = [random_gray(np.random.default_rng(seed)).matrix[0].argmax() for seed in range(300)]
    assert np.bincount(drawn, minlength=3).min() > 70


def test_jitter_uses_every_order_and_the_full_range():
    rng = np.random.default_rng(2)
    assert {tuple(np.sign(jitter(rng, brightness=0, contrast_=0, saturation_=0, hue_turn=0).matrix.round(9)).ravel())
            for _ in range(5)} == {tuple(np.eye(3).ravel())}  # fmt: skip
    gains = [jitter(rng, brightness=0.5, contrast_=0, saturation_=0, hue_turn=0).matrix[0, 0] for _ in range(2000)]
    assert 0.5 <= min(gains) < 0.51
    assert 1.49 < max(gains) <= 1.5
    # Gain and saturation commute with everything but contrast's pivot, so pivots reveal the order.
    rng = np.random.default_rng(3)
    pivots = [jitter(rng, brightness=0, contrast_=0.5, saturation_=0.5, hue_turn=0.1).pivot for _ in range(50)]
    assert len({tuple(p.round(6).ravel()) for p in pivots}) == 50


def test_mild_jitter_applies_each_operation_one_time_in_five():
    rng = np.random.default_rng(4)
    drawn = [mild_jitter(rng) for _ in range(4000)]
    shifted = np.mean([bool(d.offset.any()) for d in drawn])
    assert shifted == pytest.approx(0.2, abs=0.03)
    unchanged = np.mean([np.allclose(d.matrix, np.eye(3)) and not d.offset.any() for d in drawn])
    assert unchanged == pytest.approx(0.8**3, abs=0.03)


def test_jitter_of_many_frames_draws_a_map_per_frame():
    drawn = jitter(np.random.default_rng(5), brightness=0.5, contrast_=0.5, saturation_=0.5, hue_turn=0.25, frames=300)
    rng = np.random.default_rng(5)
    factors, turns = rng.uniform(0.5, 1.5, (300, 3)), rng.uniform(-0.25, 0.25, 300)
    for one, (b, c, s), fraction in zip(drawn.split(), factors, turns, strict=True):
        steps = [maps.gain(b), maps.contrast(c), maps.saturation(s), maps.hue(360 * fraction)]
        orders = [compose([steps[i] for i in order]) for order in permutations(range(4))]
        assert any(np.allclose(one.matrix, o.matrix) and np.allclose(one.pivot, o.pivot) for o in orders)
    assert np.abs(drawn.pivot - drawn.pivot[:1]).max() > 0.1


def test_choose_picks_a_map_per_frame():
    picked = maps.choose([maps.gain(2), maps.channel_gray(np.array([0, 1, 2])), maps.shift(7)], np.array([1, 0, 2]))
    np.testing.assert_array_equal(picked.matrix[0], [[1, 0, 0]] * 3)
    np.testing.assert_array_equal(picked.matrix[1:], [2 * np.eye(3), np.eye(3)])
    np.testing.assert_array_equal(picked.offset, [[0] * 3, [0] * 3, [7] * 3])
