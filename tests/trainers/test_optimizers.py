"""Optimizers against closed forms in numpy. `test_lr_factors.py` compares SGD and AdamW with torch's own."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from configs.errors import UserError
from configs.optim import Optim
from trainers.engine.optimizers import LARS, OPTIMIZERS, make_optimizer, moments, restore_moments


def slow_lars(weight, gradients, *, lr, momentum, weight_decay):
    """Apply algorithm 1 of You et al. 2017, with the rate outside the momentum; vectors are not scaled."""
    weight, velocity = weight.astype(np.float64), 0.0
    for gradient in gradients:
        update = gradient + weight_decay * weight
        if weight.ndim > 1:
            length, size = np.sqrt((update**2).sum()), np.sqrt((weight**2).sum())
            update = update * (0.001 * size / length if size and length else 1.0)
        velocity = momentum * velocity + update
        weight = weight - lr * velocity
    return weight


@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(4, 3), (2, 3, 1, 2, 2), (5,)])
def test_lars_matches_the_paper(shape, weight_decay):
    rng = np.random.default_rng(0)
    start, *gradients = rng.normal(size=(5, *shape)).astype(np.float32)
    weight = nn.Parameter(torch.from_numpy(start.copy()))
    optimizer = LARS([weight], lr=3.0, momentum=0.9, weight_decay=weight_decay)
    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient)
        optimizer.step()
    expected = slow_lars(start, gradients, lr=3.0, momentum=0.9, weight_decay=weight_decay)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    assert np.abs(expected - start).max() > 1e-3


def test_lars_skips_missing_gradients_and_steps_plainly_from_zero():
    idle, zeros = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.zeros(2, 2))
    zeros.grad = torch.ones(2, 2)
    LARS([idle, zeros], lr=0.5, momentum=0.9, weight_decay=0.1).step()
    assert idle.tolist() == [[1, 1], [1, 1]]
    assert zeros.tolist() == [[-0.5, -0.5], [-0.5, -0.5]]


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4), nn.Flatten(), nn.Linear(4, 2))
    for parameter in net.parameters():
        parameter.data.normal_()
        parameter.grad = torch.zeros_like(parameter)
    return net


@pytest.mark.parametrize("decays", [True, False])
@pytest.mark.parametrize(("name", "factor"), [("sgd", 0.75), ("adamw", 0.75)])
def test_norms_and_biases_can_be_excluded_from_decay(name, factor, decays):
    """With a zero gradient only the decay is left: w becomes w * (1 - lr * decay)."""
    net = network()
    before = {name: parameter.detach().clone() for name, parameter in net.named_parameters()}
    make_optimizer(net, Optim(name=name, lr=0.5, weight_decay=0.5, decay_norms_and_biases=decays)).step()
    for name, parameter in net.named_parameters():
        kept = not decays and name not in ("0.weight", "3.weight")
        torch.testing.assert_close(parameter.detach(), before[name] * (1.0 if kept else factor))


def test_moments_keep_their_parameters_when_decay_changes():
    net = network()
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    first = make_optimizer(net, Optim(name="adam"))
    first.step()
    second = make_optimizer(net, Optim(name="adam", decay_norms_and_biases=False))
    assert len(second.param_groups) == 2
    restore_moments(second, net, moments(first, net))
    for parameter in net.parameters():
        assert torch.equal(second.state[parameter]["exp_avg"], first.state[parameter]["exp_avg"])
    third = make_optimizer(net, Optim(name="adam"))
    restore_moments(third, net, moments(second, net))
    for parameter in net.parameters():
        assert torch.equal(third.state[parameter]["exp_avg"], first.state[parameter]["exp_avg"])


def test_saved_moments_are_in_the_networks_parameter_order():
    """Moments are numbered as in a single group, like those of older checkpoints."""
    net = network()
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    dict(net.named_parameters())["1.bias"].requires_grad_(False)
    still = Optim(name="adam", lr=0.01, weight_decay=0.0)
    one, two = (make_optimizer(net, replace(still, decay_norms_and_biases=decays)) for decays in (True, False))
    for optimizer in (one, two):
        optimizer.step()
    counted, expected = moments(two, net), one.state_dict()["state"]
    assert list(counted) != list(expected)  # the groups differ
    assert counted.keys() == expected.keys()
    for place, expected_state in expected.items():
        assert torch.equal(counted[place]["exp_avg"], expected_state["exp_avg"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_moments_keep_their_weights_when_memory_format_changes(name):
    """A resumed run may change `train.channels_last`, which must not affect the step."""
    torch.manual_seed(0)
    start, *gradients = torch.randn(3, 4, 3, 3, 3, 3)
    for changes in (torch.contiguous_format, torch.channels_last_3d), (torch.channels_last_3d, torch.contiguous_format):
        ends = []
        for second in changes:
            net, state = nn.Conv3d(3, 4, 3, bias=False), None
            for order, gradient in zip((changes[0], second), gradients, strict=True):
                weight = start if state is None else net.weight.detach()
                net.weight = nn.Parameter(weight.clone().contiguous(memory_format=order))
                net.weight.grad = gradient.contiguous(memory_format=order)
                optimizer = make_optimizer(net, Optim(name=name, lr=0.1))
                if state:
                    restore_moments(optimizer, net, state)
                optimizer.step()
                state = moments(optimizer, net)
            ends.append(net.weight.detach())
        torch.testing.assert_close(*ends)


def test_unknown_optimizer_lists_the_known_ones():
    with pytest.raises(UserError, match=r"optim.name: no 'sdg'; did you mean sgd\?; there are: sgd, adam, adamw, lars"):
        make_optimizer(network(), Optim(name="sdg"))


def test_every_optimizer_descends_and_resumes():
    for name in OPTIMIZERS:
        runs = []
        for parts in ((6,), (3, 3)):
            net = network()
            state = None
            for steps in parts:
                optimizer = make_optimizer(net, Optim(name=name, lr=0.01))
                if state:
                    optimizer.load_state_dict(state)
                for _ in range(steps):
                    optimizer.zero_grad()
                    loss = sum((parameter.square().sum() for parameter in net.parameters()), torch.zeros(()))
                    loss.backward()
                    optimizer.step()
                state = optimizer.state_dict()
            runs.append([parameter.detach() for parameter in net.parameters()])
        start = [parameter.detach() for parameter in network().parameters()]
        for whole, resumed, first in zip(*runs, start, strict=True):
            assert torch.equal(whole, resumed), name
            assert whole.norm() < first.norm(), name


@pytest.mark.parametrize("beta2", [0.95, 0.999])
def test_adamw_matches_the_paper_for_any_beta2(beta2):
    """Against algorithm 2 of Loshchilov and Hutter (arXiv 1711.05101), in float64."""
    rng = np.random.default_rng(0)
    start, *gradients = rng.normal(size=(6, 3, 2)).astype(np.float32)
    net = nn.Linear(2, 3, bias=False)
    net.weight.data = torch.from_numpy(start.copy())
    optimizer = make_optimizer(net, Optim(name="adamw", lr=0.1, momentum=0.8, beta2=beta2, weight_decay=0.05))
    expected, mean, square = start.astype(np.float64), 0.0, 0.0
    for step, gradient in enumerate(gradients, 1):
        net.weight.grad = torch.from_numpy(gradient)
        optimizer.step()
        mean, square = 0.8 * mean + 0.2 * gradient, beta2 * square + (1 - beta2) * gradient.astype(np.float64) ** 2
        update = mean / (1 - 0.8**step) / (np.sqrt(square / (1 - beta2**step)) + 1e-8)
        expected = expected - 0.1 * (update + 0.05 * expected)
    np.testing.assert_allclose(net.weight.detach().numpy(), expected, rtol=1e-5)
