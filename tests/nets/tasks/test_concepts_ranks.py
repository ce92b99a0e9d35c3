"""Concepts on two gloo processes, against one process with the whole batch or with one rank's share.

The network is in eval mode, because batch norm is computed per rank.
"""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, distributed

from tests.helpers.concepts import tiny, tiny_batch
from tests.helpers.ranks import on_ranks

OPTIONS: dict[str, dict[str, Any]] = {
    "of the original": {"sinkhorn": "rank"},
    "default": {},
    "all global": {"negatives": "global", "local_from": 0},
}
LOCAL = ("local_rgb", "local_static", "local_difference")
ALIGN = ("align_static", "align_dynamic")


def share(rank: int) -> dict[str, Tensor]:
    return {name: value[3 * rank : 3 * rank + 3] for name, value in tiny_batch(samples=6).items()}


def step(batch: dict[str, Tensor], options: dict[str, Any]) -> dict[str, Any]:
    """Return gradients and terms of the first step of the second epoch, and the queue after it."""
    torch.manual_seed(0)
    net = tiny(**options).eval()
    net.before_step(1)
    out = net(batch)
    out["loss"].backward()
    grads = {name: p.grad for name, p in net.named_parameters()}
    return {"grads": grads, "terms": {name: out[name].detach() for name in out}, "queue": net.queue}


def visit(rank: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    seen = {name: step(share(rank), options) for name, options in OPTIONS.items()}
    distributed.destroy_process_group()
    return seen


@pytest.fixture(scope="module")
def ranks():
    return on_ranks(visit)


def mean(ranks: list[dict[str, Any]], options: str, kind: str, name: str) -> Tensor:
    """Average a value over both ranks, as DDP does."""
    return (ranks[0][options][kind][name] + ranks[1][options][kind][name]) / 2


close = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", ["default", "all global"])
def test_two_ranks_equal_one_process_with_the_whole_batch(ranks, options):
    """Except local terms with per-rank negatives, which do not count in this loss."""
    whole = step(tiny_batch(samples=6), OPTIONS[options])
    for name in whole["terms"].keys() - (set(LOCAL) if options == "default" else set()):
        close(mean(ranks, options, "terms", name), whole["terms"][name])
    for name, grad in whole["grads"].items():
        scale = max(1, float(grad.abs().max()))
        close(mean(ranks, options, "grads", name), grad, rtol=1e-3, atol=1e-5 * scale)
    for rank in ranks:
        close(rank[options]["queue"], whole["queue"])
    assert torch.equal(ranks[0][options]["queue"], ranks[1][options]["queue"])


@pytest.mark.parametrize("rank", [0, 1])
def test_per_rank_terms_equal_one_process_with_the_ranks_share(ranks, rank):
    alone = step(share(rank), OPTIONS["of the original"])["terms"]
    for name in (*ALIGN, *LOCAL):
        close(ranks[rank]["of the original"]["terms"][name], alone[name])
    for name in ALIGN:
        assert ranks[rank]["default"]["terms"][name] != pytest.approx(alone[name].item(), rel=1e-3)
    for name in LOCAL:
        close(ranks[rank]["default"]["terms"][name], alone[name])
