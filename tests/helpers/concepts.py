"""A small Concepts network and a batch for it."""

import torch

from nets.tasks.concepts import Config, build


def tiny(**options):
    return build("r3d_tiny", {}, Config(**{"concepts": 12, "queue_size": 16, **options}))


def tiny_batch(samples=4, frames=4, size=32):
    rng = torch.Generator().manual_seed(1)
    return {
        "clips": torch.randn(samples, 2, 3, frames, size, size, generator=rng),
        "stills": torch.randn(samples, 2, 3, 1, size, size, generator=rng),
    }
