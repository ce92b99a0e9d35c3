"""Tensors of all ranks. In one process without a group, this rank is all there are."""

import torch
from torch import Tensor, distributed
from torch.distributed.nn.functional import all_gather


def world_size() -> int:
    """The number of ranks."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """This process among them."""
    return distributed.get_rank() if distributed.is_initialized() else 0


@torch.no_grad()
def gather(mine: Tensor) -> Tensor:
    """(B, ...) of each rank -> (ranks * B, ...) in rank order, without gradient."""
    if world_size() == 1:
        return mine.detach()
    mine = mine.contiguous()
    everyones = mine.new_empty(world_size() * len(mine), *mine.shape[1:])
    distributed.all_gather_into_tensor(everyones, mine)
    return everyones


def gather_with_grad(mine: Tensor) -> Tensor:
    """As `gather`, with a gradient for every rank's part.

    DDP averages the ranks' gradients: a loss of the gathered tensor that each rank computes in full has, after that,
    the gradient of one process with the whole batch.
    """
    return mine if world_size() == 1 else torch.cat(all_gather(mine.contiguous()))
