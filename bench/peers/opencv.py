"""Transform views with OpenCV and NumPy: 8-bit pictures, one frame after the other."""

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.peers.transforms import Patch

Frames = np.ndarray
"""uint8 (T, size, size, 3)."""


class OpenCV:
    """See `bench.peers.transforms.Library`."""

    channels = 3

    def __init__(self) -> None:
        self.cv2: Any = importlib.import_module("cv2")

    def paste(self, frames: Frames, patches: Sequence[Patch]) -> Frames:
        cuts = []
        for patch in patches:
            left, top, right, bottom = patch.box
            cuts.append(frames[patch.frame, top:bottom, left:right].copy())
        for patch, cut in zip(patches, cuts, strict=True):
            solid = patch.mask.min() == 1  # true for a third: rectangles with hard edges
            for frame, (left, top, right, bottom), opacity in patch.places:
                size, box = (right - left, bottom - top), frames[frame, top:bottom, left:right]
                scaled = self.cv2.resize(cut, size)
                if solid:
                    self.cv2.addWeighted(scaled, opacity, box, 1 - opacity, 0, dst=box)
                else:
                    alpha = self.cv2.resize(patch.mask, size) * np.float32(opacity)
                    box[:] = self.cv2.blendLinear(scaled, box, alpha, 1 - alpha)
        return frames

    def rotate(self, frames: Frames, degrees: float) -> Frames:
        if degrees % 90 == 0:
            code = {
                90: self.cv2.ROTATE_90_COUNTERCLOCKWISE,
                180: self.cv2.ROTATE_180,
                270: self.cv2.ROTATE_90_CLOCKWISE,
            }[round(degrees)]
            return self._each(frames, lambda t, target: self.cv2.rotate(frames[t], code, dst=target))
        size = frames.shape[1]
        matrix = self.cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), degrees, 1)
        how = {"flags": self.cv2.INTER_NEAREST}
        return self._each(
            frames, lambda t, target: self.cv2.warpAffine(frames[t], matrix, (size, size), dst=target, **how)
        )

    def means(self, frames: Frames) -> np.ndarray:
        return np.array([self.cv2.mean(frame)[:3] for frame in frames])

    def scale(self, frames: Frames, factor: np.ndarray, shift: np.ndarray) -> Frames:
        levels = np.arange(256, dtype=np.float32) * factor[:, None] + shift[:, None]
        tables = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
        return self._each(frames, lambda t, target: self.cv2.LUT(frames[t], tables[t], dst=target))

    def mix(self, frames: Frames, matrix: np.ndarray, offset: np.ndarray) -> Frames:
        maps = np.concatenate([matrix, offset[:, :, None]], axis=2)
        return self._each(frames, lambda t, target: self.cv2.transform(frames[t], maps[t], dst=target))

    def blur(self, frames: Frames, sigma: float) -> Frames:
        window = (2 * math.ceil(3 * sigma) + 1,) * 2
        return self._each(frames, lambda t, target: self.cv2.GaussianBlur(frames[t], window, sigma, dst=target))

    def normalize(self, frames: Frames, mean: Sequence[float], std: Sequence[float]) -> Tensor:
        """Look values up in a table: a tenth of the time of NumPy's broadcasting over three channels."""
        table = (np.arange(256)[:, None] - np.array(mean)) / np.array(std)
        tall = frames.reshape(-1, *frames.shape[2:])
        values = self.cv2.LUT(tall, table.astype(np.float32)[None])
        return torch.from_numpy(values.reshape(frames.shape))

    def _each(self, frames: Frames, change: Any) -> Frames:
        """Return new frames; `change(t, target)` writes frame t to `target`."""
        made = np.empty_like(frames)
        for t in range(len(frames)):
            change(t, made[t])
        return made
