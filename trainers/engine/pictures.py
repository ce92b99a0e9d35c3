"""Pictures of a network's input, as `preview` draws them, and of its reconstruction."""

from collections.abc import Mapping

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dali_pipelines.draw import Sample, View
from dali_pipelines.loader import ClipLoader
from dali_pipelines.preview import samples_of, sheet
from nets.tasks import Pretext
from trainers.engine.eval_mode import eval_mode

PICTURED = 4
"""Samples per picture."""


def draw(loader: ClipLoader, batch: Mapping[str, Tensor], *, ago: int = 0) -> Image.Image:
    """Draw the first samples of the loader's last batch, or of the one `ago` batches before it."""
    first = {name: tensor[:PICTURED] for name, tensor in batch.items()}
    epoch, _ = loader.order.at(loader.step - 1 - ago)
    return sheet(samples_of(loader.index, loader.task, loader.order.seed, epoch, first), frames=8)


@torch.no_grad()
def reconstruction(net: Pretext, batch: Mapping[str, Tensor]) -> Image.Image | None:
    """Draw the network's `picture` of the first samples of a batch; None if it has none."""
    with eval_mode(net):
        clips = net.picture({name: tensor[:PICTURED] for name, tensor in batch.items()})
    if not clips:
        return None
    views = [[View(pixels, caption) for pixels in _pixels(shown)] for caption, shown in clips.items()]
    return sheet([Sample("", [*of_sample]) for of_sample in zip(*views, strict=True)], frames=8)


def _pixels(clips_B3THW: Tensor) -> np.ndarray:
    """Convert colors in 0..1 to uint8 (B, T, H, W, 3)."""
    return (clips_B3THW.float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 4, 1).cpu().numpy()
