"""Every task's network returns scalars, of which only the loss carries a gradient, to all trainable parameters."""

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from configs.load import load
from dali_pipelines.tasks import Task
from nets.tasks import Pretext, build_task, pretext_tasks
from tests.helpers.plans import video


@pytest.fixture(params=pretext_tasks())
def task(request: pytest.FixtureRequest) -> tuple[Pretext, dict[str, Tensor]]:
    """Return a demo network at an epoch in which all terms count, and a batch of noise with true labels."""
    torch.manual_seed(0)
    config = load(f"{request.param}/demo")
    task, rng = Task(config.task, config.plan), np.random.default_rng(0)
    plans = [task.plan(video(300, 96, 64, label=0), rng) for _ in range(4)]
    batch = {
        name: torch.from_numpy(np.stack([plan[name] for plan in plans])) if name in plans[0] else torch.randn(4, *shape)
        for name, (shape, _) in task.batch_schema.items()
    }
    net = build_task(config.task, config.backbone, task.batch_schema, config.net)
    net.before_step(10)
    return net, batch


def test_loss_alone_has_a_gradient_and_it_reaches_every_parameter(task):
    net, batch = task
    result = net(batch)
    assert all(value.shape == () for value in result.values())
    assert [name for name, value in result.items() if value.requires_grad] == ["loss"]
    result["loss"].backward()
    learning = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.any()}
    assert learning == {name for name, p in net.named_parameters() if p.requires_grad}


def test_terms_under_bfloat16_autocast_are_float32_and_close(task):
    net, batch = task
    whole = copy.deepcopy(net)
    torch.manual_seed(0)
    full = whole(batch)
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = net(batch)
    assert all(value.dtype == torch.float32 for value in half.values())
    assert half["loss"].item() == pytest.approx(full["loss"].item(), rel=0.02)
    full["loss"].backward()
    half["loss"].backward()
    # Without 3D convolution weights, whose oneDNN gradient may read uninitialized memory.
    trained = [(p, q) for p, q in zip(net.parameters(), whole.parameters(), strict=True) if p.requires_grad]
    gradients = [(p.grad, q.grad) for p, q in trained if p.ndim < 5]
    assert all(ours.isfinite().all() for ours, _ in gradients)
    assert any((ours != theirs).any() for ours, theirs in gradients)  # bfloat16 was used
