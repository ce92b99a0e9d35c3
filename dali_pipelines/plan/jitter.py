"""Random color changes of the published systems."""

import numpy as np

from dali_pipelines.plan.color_map import (
    IDENTITY,
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
from dali_pipelines.plan.keyframes import interpolate, sample_keys

KEY_PROBS = (0.7, 0.3)
"""Probabilities of no key frame and of one between the first frame and the last."""


def jitter(
    rng: np.random.Generator,
    *,
    brightness: float,
    contrast_: float,
    saturation_: float,
    hue_turn: float,
    frames: int | None = None,
) -> ColorMap:
    """Draw torchvision's ColorJitter: factors uniform in 1 +- each, hue in +- `hue_turn` of a turn, in random order.

    With `frames`, draw one map per frame, all at once.
    """
    shape = () if frames is None else (frames,)
    reach = np.array([brightness, contrast_, saturation_])
    factors, turn = rng.uniform(1 - reach, 1 + reach, (*shape, 3)), rng.uniform(-hue_turn, hue_turn, shape)
    four = [gain(factors[..., 0]), contrast(factors[..., 1]), saturation(factors[..., 2]), hue(360 * turn)]
    order = rng.permuted(np.broadcast_to(np.arange(4), (*shape, 4)), axis=-1)
    return compose([four[place] for place in order] if frames is None else choose(four, order.T).split())


def mild_jitter(rng: np.random.Generator) -> ColorMap:
    """Draw the clip colors of CtP's baselines: brightness, contrast about black, hue and saturation, each with p 0.2.

    The magnitudes are the same in MemDPC, MoCo, 3D-RotNet, SpeedNet and recognition (specs/ctp.md 0.3, 1.2).
    """
    drawn = rng.random(3) < 0.2
    levels, log_gain, units, log_saturation = rng.uniform(-1, 1, 4) * [32, 0.2, 12, 0.1]
    changes = [[shift(levels)], [gain(np.exp(log_gain))], [saturation(np.exp(log_saturation)), hue(2 * units)]]
    return compose([change for changing, group in zip(drawn, changes, strict=True) if changing for change in group])


def random_gray(rng: np.random.Generator) -> ColorMap:
    """Draw a map to gray that copies one random channel to all (specs/cstp.md 1.7, specs/concepts.md 2)."""
    return channel_gray(int(rng.integers(3)))


def frame_colors(rng: np.random.Generator, length: int) -> list[ColorMap]:
    """Draw a map for each frame independently: gray from one channel with p 0.5, then a strong jitter.

    For DPC and CPC + Transformer (specs/cpc_transformer.md 2): the network cannot match frames by color. Drawing all
    at once takes a sixth of the time of 40 calls for DPC's 40 frames.
    """
    grays = choose([IDENTITY, channel_gray(rng.integers(3, size=length))], (rng.random(length) < 0.5).astype(int))
    change = jitter(rng, brightness=0.5, contrast_=0.5, saturation_=0.5, hue_turn=0.25, frames=length)
    return grays.then(change).split()


def hue_saturation(rng: np.random.Generator, *, prob: float, degrees: float, log_saturation: float) -> ColorMap:
    """Rotate the hue by up to +-degrees and scale the saturation by a log-uniform factor, with probability `prob`."""
    drawn = rng.random() < prob
    turn, log_factor = rng.uniform([-degrees, -log_saturation], [degrees, log_saturation])
    return saturation(np.exp(log_factor)).then(hue(turn)) if drawn else IDENTITY


def varying(rng: np.random.Generator, *, length: int, prob: float, reach: float, factor: bool) -> np.ndarray:
    """Draw a color value that varies over the clip, float64 (length,).

    With probability `prob` it is uniform in +-reach at the key frames and eased between them, else 0 throughout.
    With `factor`, the key frames hold exp of that, so the value is 1 throughout if nothing is drawn.
    """
    drawn = rng.random() < prob
    keys = sample_keys(length, rng, KEY_PROBS)
    values = rng.uniform(-reach, reach, size=len(keys)) * drawn
    return interpolate(keys, np.exp(values) if factor else values, rng)
