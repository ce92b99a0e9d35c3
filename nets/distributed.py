"""Tensors of all ranks. In one process without a group, this rank is all there are."""

import torch
from torch import Tensor, distributed


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
