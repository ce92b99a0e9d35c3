"""Exponential moving averages of networks: the key encoder of MoCo, the target of BYOL."""

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

Module = TypeVar("Module", bound=nn.Module)


def ema_copy(online: Module) -> Module:
    """Return a copy without gradients, to be updated by `ema_update`."""
    return copy.deepcopy(online).requires_grad_(False)


@torch.no_grad()
def ema_update(target: nn.Module, online: nn.Module, momentum: float) -> None:
    """Set target = momentum * target + (1 - momentum) * online; buffers do not change."""
    averages, current = list(target.parameters()), list(online.parameters())
    if averages:  # nn.Identity has none
        get_ema_multi_avg_fn(momentum)(averages, current, 0)  # on a GPU one kernel for many parameters
