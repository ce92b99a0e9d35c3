"""Concepts in training: which parts move in which epoch, the queue, refused batches, and learning."""

import pytest
import torch

from configs.errors import UserError
from nets.tasks.concepts import Config
from tests.helpers.concepts import tiny, tiny_batch


def unit(*shape):
    return torch.nn.functional.normalize(torch.randn(*shape), dim=-1)


def step(net, optimizer, epoch):
    """Make one optimizer step as the loop does; return the top-level modules that moved."""
    net.before_step(epoch)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    net(tiny_batch())["loss"].backward()
    net.after_backward(epoch)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return {name.split(".")[0] for name, p in net.named_parameters() if not torch.equal(p, before[name])}


def test_banks_train_from_epoch_1_and_attention_from_local_from():
    net = tiny(local_from=2)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=1e-2)
    rest = {"backbone", "instance", "to_concepts", "rebuild"}
    assert [step(net, optimizer, epoch) for epoch in range(3)] == [
        rest,
        rest | {"banks"},
        rest | {"banks", "attention"},
    ]
    assert any((bank.norm(dim=1) - 1).abs().max() > 1e-5 for bank in net.banks.values())
    net.before_step(3)
    assert all((bank.norm(dim=1) - 1).abs().max() < 1e-6 for bank in net.banks.values())


def test_the_queue_holds_the_newest_scores_last():
    net = tiny(queue_size=6)
    first = net.queue.clone()
    old, new = unit(6, 4, 24), unit(6, 4, 24)
    net.to_balance(old)
    torch.testing.assert_close(net.queue, torch.cat([first[4:], old.movedim(1, 0)]))
    net.to_balance(new)
    torch.testing.assert_close(net.queue, torch.cat([old.movedim(1, 0)[2:], new.movedim(1, 0)]))
    assert "queue" in net.state_dict()


def test_the_queue_is_balanced_along_with_the_batch_from_epoch_1_on():
    scores = unit(6, 4, 24)
    net = tiny()
    assert net.to_balance(scores).shape == (6, 4, 24)
    net.before_step(1)
    queue = net.queue.clone()
    torch.testing.assert_close(net.to_balance(scores), torch.cat([scores, queue.movedim(1, 0)], 1))


@pytest.mark.parametrize(
    ("per_rank", "ranks", "message"),
    [(1, 64, r"a micro-step has 1.*raise train.global_batch"), (8, 4, r"net.queue_size = 16 .* 32 samples")],
)
def test_a_batch_unfit_for_the_losses_is_refused(per_rank, ranks, message):
    with pytest.raises(UserError, match=message):
        tiny().check_batch(per_rank, ranks)
    tiny().check_batch(8, 2)


def test_too_few_concepts_are_refused():
    with pytest.raises(ValueError, match="concepts = 9 must be at least 10"):
        Config(concepts=9)


@pytest.mark.slow
def test_a_few_steps_fit_instances_and_align_concepts():
    net = tiny(local_from=0)
    before = net(tiny_batch())
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(25):
        step(net, optimizer, 1)
    after = net(tiny_batch())
    assert after["instance_top1"] == 1
    assert after["instance_rgb"] < 0.2 * before["instance_rgb"]
    for name in ("align_static", "align_dynamic", "rebuild_rgb", "local_rgb"):
        assert after[name] < before[name] - 0.1, name
