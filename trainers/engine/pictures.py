"""Pictures of what a run's network sees, as `preview` draws them."""

import io
from collections.abc import Mapping

from PIL import Image
from torch import Tensor

from dali_pipelines.loader import ClipLoader
from dali_pipelines.preview import png, samples_of

PICTURED = 4
"""Samples of a picture."""


def draw(loader: ClipLoader, batch: Mapping[str, Tensor], *, ago: int = 0) -> Image.Image:
    """Draw the first samples of the batch that the loader gave last, or `ago` batches before."""
    first = {name: tensor[:PICTURED] for name, tensor in batch.items()}
    epoch, _ = loader.order.at(loader.step - 1 - ago)
    samples = samples_of(loader.index, loader.task, loader.order.seed, epoch, first)
    return Image.open(io.BytesIO(png(samples, frames=8)))
