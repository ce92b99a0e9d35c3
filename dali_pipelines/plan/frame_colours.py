"""Colours of DPC and of CPC with a Transformer, which change from frame to frame (specs/cpc_transformer.md 2)."""

import numpy as np

from dali_pipelines.plan.colour_map import ColourMap, series
from dali_pipelines.plan.jitter import jitter, random_grey

GREY_PROB = 0.5


def frame_colours(rng: np.random.Generator, length: int) -> list[ColourMap]:
    """One map a frame, each drawn on its own: one channel for all three with p 0.5, then a strong jitter.

    So the network cannot match frames by their colours.
    """
    return [_frame_colour(rng) for _ in range(length)]


def _frame_colour(rng: np.random.Generator) -> ColourMap:
    grey = [random_grey(rng)] if rng.random() < GREY_PROB else []
    return series([*grey, jitter(rng, brightness=0.5, contrast_=0.5, saturation_=0.5, hue_turn=0.25)])
