"""Changes of colour that all loaders can make: how they are drawn, and made by torchvision and by OpenCV."""

import importlib
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # imagenet's


@dataclass(frozen=True)
class Colours:
    """Changes of colour, each None where it was not drawn.

    levels: grey levels added. gain: factor. hue, saturation: degrees and factor, both or none.
    """

    levels: float | None
    gain: float | None
    hue: float | None
    saturation: float | None


def draw_colours(rng: np.random.Generator) -> Colours:
    """Each of three changes with probability 0.2, of the sizes of `plan.jitter.mild_jitter`."""
    drawn = rng.random(3) < 0.2
    levels, log_gain, units, log_saturation = (float(v) for v in rng.uniform(-1, 1, 4) * [32, 0.2, 12, 0.1])
    return Colours(
        levels if drawn[0] else None,
        float(np.exp(log_gain)) if drawn[1] else None,
        2 * units if drawn[2] else None,
        float(np.exp(log_saturation)) if drawn[2] else None,
    )


def torchvision_colour(frames: Tensor, colours: Colours) -> Tensor:
    """float32 (3, T, H, W), normalised. torchvision cannot add grey levels: its brightness at mid-grey is the same."""
    from torchvision.transforms.v2 import functional as v2

    if colours.levels is not None:
        frames = v2.adjust_brightness(frames, 1 + colours.levels / 128)
    if colours.gain is not None:
        frames = v2.adjust_contrast(frames, colours.gain)
    if colours.hue is not None and colours.saturation is not None:
        frames = v2.adjust_hue(v2.adjust_saturation(frames, colours.saturation), colours.hue / 360)
    return v2.normalize(v2.to_dtype(frames, torch.float32, scale=True), MEAN, STD).transpose(0, 1)


def opencv_colour(frames: Tensor, colours: Colours) -> Tensor:
    """The same with NumPy and OpenCV, whose 8-bit HSV is much faster than torchvision's."""
    cv2 = importlib.import_module("cv2")
    pixels = frames.permute(0, 2, 3, 1).numpy()
    if colours.levels is not None or colours.gain is not None:
        gain, levels = colours.gain or 1.0, colours.levels or 0.0
        table = np.clip((np.clip(np.arange(256) + levels, 0, 255)) * gain, 0, 255).astype(np.uint8)
        pixels = cv2.LUT(_tall(pixels), table).reshape(pixels.shape)
    if colours.hue is not None and colours.saturation is not None:
        hsv = cv2.cvtColor(_tall(pixels), cv2.COLOR_RGB2HSV)
        values = np.arange(256)
        turned = (values + round(colours.hue / 2)) % 180  # OpenCV counts hue in steps of two degrees
        tables = np.stack([turned, np.clip(values * colours.saturation, 0, 255), values], axis=1)
        hsv = cv2.LUT(hsv, tables.astype(np.uint8)[None])
        pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB).reshape(pixels.shape)
    scale = [1 / (255 * deviation) for deviation in STD]
    shift = [-mean / deviation for mean, deviation in zip(MEAN, STD, strict=True)]
    values = pixels * np.array(scale, np.float32) + np.array(shift, np.float32)
    return torch.from_numpy(values).permute(3, 0, 1, 2)


def _tall(pixels: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) as one picture."""
    return pixels.reshape(-1, *pixels.shape[2:])
