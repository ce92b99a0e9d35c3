"""MoCo's network: the queue, the key encoder, and the same loss on two processes as on one."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from configs.errors import UserError
from nets.tasks.moco import Config, MoCo, Reference, build, shuffle_bn
from tests.helpers.ranks import on_ranks
from tests.helpers.training import count
from trainers.engine import distributed

SCHEMA = {"clips": ((2, 3, 8, 32, 32), "float32")}


def make(**options) -> MoCo:
    torch.manual_seed(0)
    return build("r3d_tiny", SCHEMA, Config(**{"queue": 8, **options}))


def batch_of(size: int, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = torch.Generator().manual_seed(seed)
    return {"clips": torch.randn(size, 2, 3, 8, 32, 32, generator=rng)}


def test_parameter_counts_and_queue_match_the_original():
    with torch.device("meta"):
        net = build("r3d18", {}, Config())
        features = net.backbone(torch.empty(1, 3, 16, 112, 112))
    assert features.shape == (1, 512, 2, 7, 7)
    assert count(net.head) == count(net.key_head) == 328_320
    assert count(net.backbone) == count(net.key_backbone) == 33_166_272
    assert net.queue.shape == (65536, 128)


def test_the_queue_starts_with_random_unit_vectors():
    queue = make(queue=4096).queue
    assert torch.allclose(queue.norm(dim=1), torch.ones(4096))
    assert abs(queue @ queue.T - torch.eye(4096)).mean() == pytest.approx(math.sqrt(2 / (math.pi * 128)), rel=0.02)


def slow_codes(backbone: nn.Module, head: nn.Module, clips: torch.Tensor) -> torch.Tensor:
    first, _, last = head.get_submodule("layers").children()
    pooled = backbone(clips).flatten(2).mean(2)
    code = (pooled @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
    return code / code.square().sum(1, keepdim=True).sqrt()


def test_loss_and_accuracy_match_a_slow_reference():
    net = make(temperature=0.3)
    batch = batch_of(4)
    queue = net.queue.clone()
    copied = copy.deepcopy(net)
    with torch.no_grad():
        queries = slow_codes(copied.backbone, copied.head, batch["clips"][:, 0])
        keys = slow_codes(copied.key_backbone, copied.key_head, batch["clips"][:, 1])
        queue[0] = queries[2]  # the nearest key is a wrong one
        net.queue[0] = queries[2]
    result = net(batch)
    losses, right = [], 0
    for query, key in zip(queries, keys, strict=True):
        similarity = [float(query @ other) / 0.3 for other in (key, *queue)]
        losses.append(math.log(sum(math.exp(s) for s in similarity)) - similarity[0])
        right += similarity[0] == max(similarity)
    assert right < 4
    assert result["loss"].item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert result["accuracy"].item() == pytest.approx(right / 4)
    assert result["chance"].item() == pytest.approx(1 / 9)


def test_loss_without_similarity_is_ln_65537():
    net = make(queue=65536)
    for parameter in net.head.layers[2].parameters():
        nn.init.zeros_(parameter)
    assert net(batch_of(2))["loss"].item() == pytest.approx(11.0904, abs=1e-3)


def test_the_newest_keys_replace_the_oldest_in_the_queue():
    net, seen = make(queue=8), []
    net.key_head.register_forward_hook(lambda *call: seen.append(call[-1]))
    first = net.queue.clone()
    for step in range(3):
        before = net.queue.clone()
        net(batch_of(4, seed=step))
        rows = slice(4 * (step % 2), 4 * (step % 2) + 4)
        assert torch.equal(net.queue[rows], seen[step])
        kept = torch.ones(8, dtype=torch.bool)
        kept[rows] = False
        assert torch.equal(net.queue[kept], before[kept])
    assert torch.equal(net.queue, torch.cat([seen[2], seen[1]]))
    assert not torch.isin(net.queue, first).any()


def test_key_encoder_follows_once_per_step_without_gradient():
    net = make(momentum=0.9)
    assert all(torch.equal(a, b) for a, b in zip(net.backbone.parameters(), net.key_backbone.parameters(), strict=True))
    with torch.no_grad():
        for parameter in [*net.backbone.parameters(), *net.head.parameters()]:
            parameter.add_(1)
    online = [*net.backbone.parameters(), *net.head.parameters()]
    keys = [*net.key_backbone.parameters(), *net.key_head.parameters()]
    net(batch_of(4))["loss"].backward()  # a forward pass moves nothing
    assert all(torch.allclose(mine, theirs - 1, atol=1e-6) for mine, theirs in zip(keys, online, strict=True))
    assert all(mine.grad is None and not mine.requires_grad for mine in keys)
    net.before_step(0)
    assert all(torch.allclose(mine, theirs - 0.9, atol=1e-6) for mine, theirs in zip(keys, online, strict=True))


def test_all_state_is_in_the_state_dict():
    net, other = make(), make()
    for step in range(3):
        net.before_step(0)
        net(batch_of(4, seed=step))
    assert not torch.equal(net.queue, other.queue)
    other.load_state_dict(net.state_dict())
    assert net(batch_of(4, seed=9))["loss"] == other(batch_of(4, seed=9))["loss"]
    assert torch.equal(net.queue, other.queue)


@pytest.mark.parametrize(("per_rank", "ranks"), [(4, 1), (2, 2), (1, 8), (8, 1)])
def test_a_batch_that_divides_the_queue_is_accepted(per_rank, ranks):
    make(queue=8).check_batch(per_rank, ranks)


@pytest.mark.parametrize(("per_rank", "ranks", "nearest"), [(3, 1, 9), (5, 2, 10), (16, 2, 32)])
def test_a_batch_that_does_not_divide_the_queue_suggests_a_queue(per_rank, ranks, nearest):
    message = rf"net\.queue = 8 .* {per_rank * ranks} videos .*\({per_rank} on each of {ranks} ranks?\).* {nearest}$"
    with pytest.raises(UserError, match=message):
        make(queue=8).check_batch(per_rank, ranks)


@pytest.mark.parametrize("torch_default", [False, True])
def test_default_init_skips_the_initialization(torch_default):
    net = make(reference=Reference(default_init=torch_default))
    weight = net.backbone.state_dict()["layer2.0.conv1.0.weight"]  # 48 x 16 x 3 x 3 x 3
    fan_in, fan_out = 16 * 27, 48 * 27
    assert weight.std().item() == pytest.approx(math.sqrt(1 / (3 * fan_in) if torch_default else 2 / fan_out), rel=0.03)
    assert torch.equal(net.key_backbone.state_dict()["layer2.0.conv1.0.weight"], weight)


def loss_after_training(lr: float) -> float:
    net = make(queue=64, momentum=0.9)
    colors = 2 * torch.randn(8, 1, 3, 1, 1, 1, generator=torch.Generator().manual_seed(1))  # one per video
    optimizer = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=lr)
    for step in range(24):
        net.before_step(0)
        loss = net({"clips": colors + batch_of(8, seed=step)["clips"]})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.mark.slow
def test_a_few_steps_fit_one_batch():
    # The queue of 64 holds 8 old keys per video, indistinguishable from the query's own key: at best ln 9.
    assert loss_after_training(lr=0) > math.log(24)
    assert loss_after_training(lr=2e-3) < math.log(12)


# Two ranks.


def steps_of(net: MoCo, model: nn.Module, part: slice) -> dict[str, list[float]]:
    """Make three steps on a share of each batch of 4, in eval mode because batch statistics depend on the share."""
    net.eval()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.5)
    losses = []
    for step in range(3):
        net.before_step(0)
        result = model({"clips": batch_of(4, seed=step)["clips"][part]})
        optimizer.zero_grad()
        result["loss"].backward()
        optimizer.step()
        losses.append(result["loss"].item())
    weights = [*net.backbone.parameters(), *net.head.parameters(), *net.key_head.parameters()]
    sums = [p.detach().double().abs().sum().item() for p in weights]
    return {"losses": losses, "queue": net.queue.tolist(), "sums": sums}


def visit(rank: int) -> dict[str, object]:
    with distributed.start("cpu"):
        net = make()
        ddp = nn.parallel.DistributedDataParallel(net, broadcast_buffers=False)
        torch.manual_seed(rank)  # as in the loop, ranks differ in random numbers
        seen = steps_of(net, ddp, slice(2 * rank, 2 * rank + 2))
        del ddp
        shares: list[list[float]] = []

        def encode(values: torch.Tensor) -> torch.Tensor:
            shares.append(values.flatten().tolist())
            return 10 * values

        mine = torch.arange(16.0)[8 * rank : 8 * rank + 8, None]
        return seen | {"codes": shuffle_bn(encode, mine).flatten().tolist(), "share": shares[0]}


@pytest.fixture(scope="module")
def ranks():
    return on_ranks(visit)


def test_two_ranks_have_the_queue_loss_and_weights_of_one(ranks):
    net = make()
    alone = steps_of(net, net, slice(None))
    assert ranks[0]["queue"] == ranks[1]["queue"]
    np.testing.assert_allclose(ranks[0]["queue"], alone["queue"], atol=1e-5)
    np.testing.assert_allclose(np.mean([seen["losses"] for seen in ranks], axis=0), alone["losses"], rtol=1e-4)
    for seen in ranks:
        np.testing.assert_allclose(seen["sums"], alone["sums"], rtol=1e-4)


def test_keys_are_encoded_in_shuffled_batches_and_returned_in_order(ranks):
    assert all(seen["codes"] == [10.0 * n for n in range(16)] for seen in ranks)
    first, second = (set(seen["share"]) for seen in ranks)
    assert first | second == set(range(16))
    assert len(first) == len(second) == 8
    assert first != set(range(8))


def test_one_rank_does_not_shuffle():
    clips = torch.arange(5.0)[:, None]
    assert torch.equal(shuffle_bn(lambda values: values, clips), clips)
