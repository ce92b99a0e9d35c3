"""Concepts on two gloo processes, against one process with the whole batch.

Batch norm and the local contrast are each rank's own: the network is in eval mode, the contrast left out.
"""

import torch
from torch import distributed

from tests.helpers.ranks import on_ranks
from tests.nets.tasks.test_concepts import tiny, tiny_batch


def gradients(net, batch):
    net.before_step(1)
    out = net(batch)
    out["loss"].backward()
    return {name: p.grad for name, p in net.named_parameters()}, {name: out[name].detach() for name in out}


def fixed_net():
    torch.manual_seed(0)
    return tiny().eval()


def visit(number: int) -> dict[str, object]:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    net = fixed_net()
    mine = {name: value[3 * number : 3 * number + 3] for name, value in tiny_batch(samples=6).items()}
    grads, terms = gradients(net, mine)
    distributed.destroy_process_group()
    return {"grads": grads, "terms": terms, "queue": net.queue}


def test_two_ranks_are_one_process_with_the_whole_batch():
    net = fixed_net()
    grads, terms = gradients(net, tiny_batch(samples=6))
    ranks = on_ranks(visit)
    for name in [name for name in terms if not name.startswith("local")]:
        mean = (ranks[0]["terms"][name] + ranks[1]["terms"][name]) / 2  # what DDP makes of them
        torch.testing.assert_close(mean, terms[name], rtol=1e-4, atol=1e-5)
    for name, grad in grads.items():
        mean = (ranks[0]["grads"][name] + ranks[1]["grads"][name]) / 2
        torch.testing.assert_close(mean, grad, rtol=1e-3, atol=1e-5 * max(1, float(grad.abs().max())))
    assert torch.equal(ranks[0]["queue"], ranks[1]["queue"])
    torch.testing.assert_close(ranks[0]["queue"], net.queue, rtol=1e-4, atol=1e-5)
