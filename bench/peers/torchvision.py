"""Transform views with torch and torchvision: floats for mixing colors, all frames at once."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from bench.peers.transforms import Patch


class Torch:
    """See `bench.peers.transforms.Library`; frames are (T, 3, size, size), uint8 or float32 in 0..255."""

    channels = 1

    def __init__(self) -> None:
        from torchvision.transforms.v2 import functional

        self.v2: Any = functional

    def paste(self, frames: Tensor, patches: Sequence[Patch]) -> Tensor:
        frames, cuts = _floats(frames), []
        for patch in patches:
            left, top, right, bottom = patch.box
            cut = frames[patch.frame, :, top:bottom, left:right]
            cuts.append(torch.cat([cut, torch.from_numpy(patch.mask)[None]])[None])
        for patch, cut in zip(patches, cuts, strict=True):
            for frame, (left, top, right, bottom), opacity in patch.places:
                scaled = interpolate(cut, (bottom - top, right - left), mode="bilinear")[0]
                frames[frame, :, top:bottom, left:right].lerp_(scaled[:3], scaled[3] * opacity)
        return frames

    def rotate(self, frames: Tensor, degrees: float) -> Tensor:
        rotated: Tensor = self.v2.rotate(frames.contiguous(), degrees)
        return rotated

    def means(self, frames: Tensor) -> np.ndarray:
        return _floats(frames).mean((2, 3)).numpy()

    def scale(self, frames: Tensor, factor: np.ndarray, shift: np.ndarray) -> Tensor:
        factors, shifts = (torch.from_numpy(part)[:, None, None, None] for part in (factor, shift))
        return _floats(frames).mul(factors).add_(shifts).clamp_(0, 255)

    def mix(self, frames: Tensor, matrix: np.ndarray, offset: np.ndarray) -> Tensor:
        pixels = _floats(frames).flatten(2)
        mixed = torch.baddbmm(torch.from_numpy(offset)[:, :, None], torch.from_numpy(matrix), pixels)
        return mixed.clamp_(0, 255).reshape(frames.shape)

    def blur(self, frames: Tensor, sigma: float) -> Tensor:
        blurred: Tensor = self.v2.gaussian_blur(_floats(frames), [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2)
        return blurred

    def normalize(self, frames: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        normal: Tensor = self.v2.normalize(_floats(frames), list(mean), list(std), inplace=True)
        return normal


def _floats(frames: Tensor) -> Tensor:
    """Return planar float32: decoders interleave the channels, which makes everything after ten times slower."""
    return frames.contiguous().float()
