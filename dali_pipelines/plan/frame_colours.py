"""Colours of DPC and of CPC with a Transformer, which change from frame to frame (specs/cpc_transformer.md 2)."""

import numpy as np

from dali_pipelines.plan.colour_map import IDENTITY, ColourMap, channel_grey, choose
from dali_pipelines.plan.jitter import jitter

GREY_PROB = 0.5


def frame_colours(rng: np.random.Generator, length: int) -> list[ColourMap]:
    """One map a frame, each drawn on its own: one channel for all three with p 0.5, then a strong jitter.

    So the network cannot match frames by their colours. All are drawn at once: DPC's 40 frames take a sixth of the
    time that 40 calls take.
    """
    greys = choose([IDENTITY, channel_grey(rng.integers(3, size=length))], (rng.random(length) < GREY_PROB).astype(int))
    change = jitter(rng, brightness=0.5, contrast_=0.5, saturation_=0.5, hue_turn=0.25, frames=length)
    return greys.then(change).split()
