"""Check, before timing a peer, that its views match our loader's."""

import statistics
from collections.abc import Sequence
from contextlib import closing
from itertools import islice

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from bench.peers.data import peer_clips
from bench.peers.loaders import Peer, peer_batches
from dali_pipelines.loader import ClipLoader
from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.tasks import Task
from trainers.engine.loop import endless

CHECKED = 8  # samples
BLOCKS = 14  # along each side: scaling with or without antialiasing may differ in single pixels
MAX_DIFFERENCE = 2.6
"""Gray levels by which the R, G and B of a block may differ between a peer's views and ours, on average.

Both come from videos that were encoded more than once, and scaled in other steps: right views of the bench's own videos
differ by 1.5 to 2.2. Views that are two pixels off differ by 2.9 and more, a frame off by 3.7, without the changes of
color by 4.4, without CtP's patches by 4.9, without rotations by 18, with red and blue exchanged by 21, mirrored by 30.
A blur, a small change of hue and the order of patches are too weak to show here:
tests/bench/peers/test_transforms.py compares them from equal frames.
"""


def our_views(loader: ClipLoader) -> list[Tensor]:
    """Return the views of the first samples of a loader like this one, float32 (T, size, size, 3) gray levels."""
    shapes = {name: shape for name, (shape, _) in loader.task.batch_schema.items()}
    lengths = [view.length for view in loader.task.program.views]
    fresh = ClipLoader(
        loader.index,
        loader.task,
        batch_size=loader.order.batch_size,
        seed=loader.order.seed,
        device="cpu" if loader.device_id is None else f"cuda:{loader.device_id}",
        threads=loader.threads,
        decoder=loader.decoder,
    )
    samples: list[Tensor] = []
    with closing(fresh):
        for batch in islice(endless(fresh), _batches(loader)):
            # All frames of a sample, in the order of its plan: views may be in several outputs, and in blocks.
            parts = [batch[name].movedim(-4, -1).flatten(1, -4).cpu() for name in shapes if len(shapes[name]) >= 4]
            samples += torch.cat(parts, dim=1)
    return [levels(view, loader.task) for sample in samples[:CHECKED] for view in torch.split(sample, lengths)]


def peer_views(peer: Peer, loader: ClipLoader) -> list[Tensor]:
    """Return the same views from a peer."""
    clips = peer_clips(loader, 0, _batches(loader), prepared=peer.prepared)[:CHECKED]
    with peer_batches(peer, clips, batch_size=1, workers=0, device="cpu") as arriving:
        return [levels(view[0].movedim(0, -1), loader.task) for views in arriving for view in views]


def difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """Return the mean absolute difference of block means over all views, weighted equally; gray levels."""
    pairs = zip(ours, theirs, strict=True)
    return statistics.fmean(float((block_means(mine) - block_means(other)).abs().mean()) for mine, other in pairs)


def block_means(view: Tensor) -> Tensor:
    """Average blocks: (T, size, size, 3) to (T, 3, BLOCKS, BLOCKS)."""
    return adaptive_avg_pool2d(view.movedim(-1, 1), BLOCKS)


def _batches(loader: ClipLoader) -> int:
    return -(-CHECKED // loader.order.batch_size)


def levels(view: Tensor, task: Task) -> Tensor:
    """Undo the normalization of a view; return gray levels."""
    mean, std = (torch.tensor(part) for part in NORMALIZATIONS[task.program.normalization])
    return 255 * (view * std + mean)
