"""The size of a network, and a few steps on one batch."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def count(module: nn.Module) -> int:
    """Count the parameters."""
    return sum(p.numel() for p in module.parameters())


def train_on(batch: Mapping[str, Tensor], net: nn.Module, *, steps: int) -> dict[str, Tensor]:
    """Take `steps` Adam steps on one batch; return the network's outputs from before the last update."""
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(steps):
        result: dict[str, Tensor] = net(batch)
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
    return result
