"""Colors of DPC and of CPC with a Transformer, which change from frame to frame (specs/cpc_transformer.md 2)."""

import numpy as np

from dali_pipelines.plan.color_map import IDENTITY, ColorMap, channel_gray, choose
from dali_pipelines.plan.jitter import jitter

GRAY_PROB = 0.5


def frame_colors(rng: np.random.Generator, length: int) -> list[ColorMap]:
    """Draw a map for each frame on its own: one channel for all three with p 0.5, then a strong jitter.

    So the network cannot match frames by their colors. All are drawn at once: DPC's 40 frames take a sixth of the
    time that 40 calls take.
    """
    grays = choose([IDENTITY, channel_gray(rng.integers(3, size=length))], (rng.random(length) < GRAY_PROB).astype(int))
    change = jitter(rng, brightness=0.5, contrast_=0.5, saturation_=0.5, hue_turn=0.25, frames=length)
    return grays.then(change).split()
