"""Rank, world size and all-gather, with or without a process group."""

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather as differentiable_all_gather


def world_size() -> int:
    """Return the number of ranks; 1 without a process group."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """Return the rank of this process; 0 without a process group."""
    return distributed.get_rank() if distributed.is_initialized() else 0


@torch.no_grad()
def all_gather(local: Tensor) -> Tensor:
    """Concatenate (B, ...) of each rank to (ranks * B, ...) in rank order, without gradient."""
    if world_size() == 1:
        return local.detach()
    local = local.contiguous()
    gathered = local.new_empty(world_size() * len(local), *local.shape[1:])
    distributed.all_gather_into_tensor(gathered, local)
    return gathered


def gather_with_gradient(local: Tensor) -> Tensor:
    """Concatenate (B, ...) of each rank to (ranks * B, ...) in rank order; each rank gets the gradients of all."""
    return torch.cat(differentiable_all_gather(local.contiguous())) if world_size() > 1 else local
