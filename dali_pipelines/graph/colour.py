"""Colour changes of a clip, and the numbers that a network reads."""

import numpy as np
from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from dali_pipelines.graph.device import beside

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def hue_saturation(clips: DataNode, hue: DataNode, saturation: DataNode) -> DataNode:
    """Turns the hue by degrees and multiplies the saturation, per clip.

    DALI does this as one linear map of RGB; the original goes through OpenCV's 8-bit HSV and clamps the hue instead
    of turning it (specs/ctp.md 0.3, 6.4.10). tests/test_graph_colour.py states the difference.

    Args:
        clips: (T, H, W, 3) in 0..255, uint8 or float32.
        hue, saturation: float32 scalars.

    Returns:
        uint8 (T, H, W, 3), rounded and clamped here as in the original.
    """
    return fn.hsv(clips, hue=hue, saturation=saturation, dtype=types.UINT8)


def normalise(clips: DataNode, brightness: DataNode | None = None, contrast: DataNode | None = None) -> DataNode:
    """Brightness, then contrast, then ImageNet's mean and standard deviation.

    Args:
        clips: (T, H, W, 3) in 0..255, uint8 or float32.
        brightness: float32 (T, 1, 1, 1), added; the sum is clamped to 0..255.
        contrast: float32 (T, 1, 1, 1) > 0, multiplied; the product is clamped to 0..255.

    Returns:
        float32 (T, H, W, 3).
    """
    if brightness is not None and contrast is not None:
        brightness, contrast = beside(brightness, clips), beside(contrast, clips)
        # The clamp after the sum and the one after the product are one: min(x + b, 255) c = min((x + b) c, 255 c).
        limit = math.min(contrast * np.float32(255), np.float32(255))
        clips = math.clamp((clips + brightness) * contrast, np.float32(0), limit)
    return fn.crop_mirror_normalize(
        clips,
        mean=[255 * mean for mean in MEAN],
        std=[255 * std for std in STD],
        dtype=types.FLOAT,
        output_layout="FHWC",
    )
