"""Every network on a fake GPU: no tensor is left on the CPU, and nothing synchronizes within a step."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.testing._internal.distributed.fake_pg import FakeStore

from configs.load import load
from configs.schema import Config, Recognition
from dali_pipelines.tasks import Task
from nets.backbones import create
from nets.classifier import Classifier
from nets.losses import dense_infonce
from nets.tasks import Pretext, build_task, pretext_tasks
from tests.helpers.fake_cuda import fake_cuda
from tests.helpers.runs import ROOT

pytestmark = pytest.mark.slow

BATCH, CLASSES = 4, 10


@pytest.fixture
def second_rank() -> Iterator[None]:
    """Run as rank 1 of a fake group of two, whose communication carries no values."""
    distributed.init_process_group("fake", store=FakeStore(), rank=1, world_size=2)
    yield
    distributed.destroy_process_group()


def step(config: Config, *, bf16: bool) -> None:
    """Make a training step of a recipe without the backward pass, which needs a driver."""
    schema = Task(config.task, config.plan).batch_schema
    with torch.device("meta"):
        net: Pretext
        if isinstance(config, Recognition):
            drawn_on_the_host = {"rand_augment": None, "erase_prob": 0.0, "mixup": 0.0, "cutmix": 0.0}
            net = Classifier(create(config.backbone), CLASSES, replace(config.net, **drawn_on_the_host))
        else:
            net = build_task(config.task, config.backbone, schema, config.net)
    with fake_cuda(net, bf16=bf16) as waits:
        batch = {
            name: torch.zeros(BATCH, *shape, dtype=getattr(torch, dtype), device="cuda")
            for name, (shape, dtype) in schema.items()
        }
        net.before_step(epoch=2)
        out = net(batch)
        net.after_backward(epoch=2)
        assert {value.device.type for value in out.values()} == {"cuda"}
        assert out["loss"].dtype == torch.float32
        assert waits.found == []


def recipes() -> list[str]:
    """Return a recipe of each pretext task, published if there is one, then one of recognition for other backbones."""
    found: list[str] = []
    seen: set[str] = set()
    paths = (ROOT / "configs").glob("*/*.yaml")
    for path in sorted(paths, key=lambda path: (path.parent.name == "recognition", path.stem == "demo", path)):
        task, (backbone,) = path.parent.name, re.findall("^backbone: (.*)", path.read_text(), re.MULTILINE)
        if (backbone if task == "recognition" else task) not in seen:
            found.append(f"{task}/{path.stem}")
            seen |= {task, backbone}
    return found


@pytest.mark.parametrize("recipe", recipes())
def test_recipes_in_bfloat16_neither_mix_devices_nor_synchronize(recipe):
    step(load(recipe), bf16=True)


@pytest.mark.parametrize("task", pretext_tasks())
def test_tasks_in_float32_on_two_ranks_neither_mix_devices_nor_synchronize(task, second_rank):
    step(load(f"{task}/demo"), bf16=False)


# Mistakes.


class Mistaken(nn.Module):
    """Network that leaves a tensor on the CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.ones(1)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale[None]


def test_a_tensor_left_on_the_cpu_is_detected():
    with fake_cuda(net := Mistaken(), bf16=False), pytest.raises(RuntimeError, match="two different devices"):
        net(torch.ones(2, 2, device="cuda"))


def test_labels_made_on_the_cpu_are_detected(monkeypatch):
    arange = torch.arange
    monkeypatch.setattr(torch, "arange", lambda *args, device=None: arange(*args))
    with fake_cuda(nn.Identity(), bf16=False), pytest.raises(RuntimeError, match="two different devices"):
        dense_infonce(*torch.ones(2, 4, 2, 8, 1, 1, device="cuda"))


def test_mixed_dtypes_under_autocast_are_detected():
    net = nn.Conv2d(2, 2, 1)
    with fake_cuda(net, bf16=True):
        x = torch.ones(1, 2, 4, 4, device="cuda")
        assert net(x).dtype == torch.bfloat16
        with pytest.raises(RuntimeError, match="expected dtype"):
            torch.lerp(x, net(x), 0.5)


def test_copies_to_the_gpu_and_reads_of_values_are_detected():
    with fake_cuda(nn.Identity(), bf16=False) as waits:
        x = torch.ones(3, device="cuda")
        x.new_full((), 0.5)
        assert waits.found == []
        x.new_tensor(0.5)
        assert len(waits.found) == 1
        with pytest.raises(RuntimeError, match="_local_scalar_dense"):
            float(x.sum())
