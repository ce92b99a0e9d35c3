"""Random color maps of the published systems."""

import numpy as np

from dali_pipelines.plan.color_map import (
    ColorMap,
    channel_gray,
    choose,
    compose,
    contrast,
    gain,
    hue,
    saturation,
    shift,
)


def jitter(
    rng: np.random.Generator,
    *,
    brightness: float,
    contrast_: float,
    saturation_: float,
    hue_turn: float,
    frames: int | None = None,
) -> ColorMap:
    """Draw torchvision's ColorJitter: factors uniform in 1 +- each, hue in +- `hue_turn` of a turn, in any order.

    With `frames`, draw one map for each, all at once.
    """
    shape = () if frames is None else (frames,)
    reach = np.array([brightness, contrast_, saturation_])
    factors, turn = rng.uniform(1 - reach, 1 + reach, (*shape, 3)), rng.uniform(-hue_turn, hue_turn, shape)
    four = [gain(factors[..., 0]), contrast(factors[..., 1]), saturation(factors[..., 2]), hue(360 * turn)]
    order = rng.permuted(np.broadcast_to(np.arange(4), (*shape, 4)), axis=-1)
    return compose([four[place] for place in order] if frames is None else choose(four, order.T).split())


def mild_jitter(rng: np.random.Generator) -> ColorMap:
    """Draw the clip colors of CtP's baselines: brightness, contrast about black, hue and saturation, each with p 0.2.

    The sizes are the same in MemDPC, MoCo, Rot3D, SpeedNet and recognition (specs/ctp.md 0.3, 1.2).
    """
    drawn = rng.random(3) < 0.2
    levels, log_gain, units, log_saturation = rng.uniform(-1, 1, 4) * [32, 0.2, 12, 0.1]
    changes = [[shift(levels)], [gain(np.exp(log_gain))], [saturation(np.exp(log_saturation)), hue(2 * units)]]
    return compose([change for changing, group in zip(drawn, changes, strict=True) if changing for change in group])


def random_gray(rng: np.random.Generator) -> ColorMap:
    """Draw one of the three channels for all of them (specs/cstp.md 1.7, specs/concepts.md 2)."""
    return channel_gray(int(rng.integers(3)))
