"""Color factors of a clip (specs/ctp.md 0.3)."""

import numpy as np

from dali_pipelines.plan import color_map
from dali_pipelines.plan.color_map import ColorMap
from dali_pipelines.plan.keyframes import interpolate, sample_keys

KEY_PROBS = (0.7, 0.3)


def hue_saturation(rng: np.random.Generator, *, prob: float, hue: float, saturation: float) -> ColorMap:
    """Rotate the hue by up to +-hue degrees and scale saturation by a log-uniform factor, with probability `prob`."""
    drawn = rng.random() < prob
    degrees, log_factor = rng.uniform([-hue, -saturation], [hue, saturation])
    return color_map.saturation(np.exp(log_factor)).then(color_map.hue(degrees)) if drawn else color_map.IDENTITY


def varying(rng: np.random.Generator, *, length: int, prob: float, reach: float, factor: bool) -> np.ndarray:
    """Draw a color value that moves through the clip, float64 (length,).

    With probability `prob` it is uniform in +-reach at the key frames and eased between them, else 0 throughout.
    As a `factor` the key frames hold exp of that, so it is 1 throughout where nothing is drawn.
    """
    drawn = rng.random() < prob
    keys = sample_keys(length, rng, KEY_PROBS)
    values = rng.uniform(-reach, reach, size=len(keys)) * drawn
    return interpolate(keys, np.exp(values) if factor else values, rng)
