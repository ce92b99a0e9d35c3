"""The loss of MemDPC, DPC and CPC with a Transformer on two gloo processes."""

from typing import Any, Literal

import pytest
import torch
from torch import distributed

from nets.losses import dense_infonce
from tests.helpers.ranks import on_ranks

Negatives = Literal["rank", "global"]


def step(samples: slice, negatives: Negatives) -> dict[str, Any]:
    """Return the loss and its gradient for the weight that maps inputs to both predictions and targets."""
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 5, generator=rng).requires_grad_()
    inputs_BNHWC = torch.randn(6, 2, 3, 2, 5, generator=rng)[samples]
    predicted_BNCHW, target_BNCHW = ((inputs_BNHWC + shift) @ weight for shift in (0.0, 0.3))
    out = dense_infonce(predicted_BNCHW.movedim(-1, 2), target_BNCHW.movedim(-1, 2), negatives)
    out["loss"].backward()
    return {name: value.detach() for name, value in out.items()} | {"grad": weight.grad}


def visit(rank: int) -> dict[str, Any]:
    distributed.init_process_group("gloo")
    own_rows = slice(3 * rank, 3 * rank + 3)
    seen = {"rank": step(own_rows, "rank"), "global": step(own_rows, "global")}
    distributed.destroy_process_group()
    return seen


@pytest.fixture(scope="module")
def ranks():
    return on_ranks(visit)


def test_global_negatives_equal_one_process_with_the_whole_batch(ranks):
    whole = step(slice(None), "global")
    assert whole["chance"] == pytest.approx(1 / (6 * 2 * 3 * 2))
    for name, expected in whole.items():
        torch.testing.assert_close((ranks[0]["global"][name] + ranks[1]["global"][name]) / 2, expected)


@pytest.mark.parametrize("rank", [0, 1])
def test_rank_negatives_equal_one_process_with_the_ranks_share(ranks, rank):
    alone = step(slice(3 * rank, 3 * rank + 3), "rank")
    for name, expected in alone.items():
        torch.testing.assert_close(ranks[rank]["rank"][name], expected)
    assert ranks[rank]["global"]["chance"] == pytest.approx(alone["chance"].item() / 2)
