"""`optim.lr_factors`: the learning rate of each part of the network, against gradients of plain torch."""

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F

from configs.errors import UserError
from configs.optim import Optim, Schedule
from configs.schema import Config, Data, Train
from nets import backbones
from nets.classifier import Classifier
from nets.classifier import Config as NetConfig
from trainers.engine import run as runs
from trainers.engine.distributed import Ranks
from trainers.engine.loop import train_step
from trainers.engine.optimizers import make_optimizer
from trainers.engine.run import Run
from trainers.engine.work_dir import write_config

FACTORS = (("backbone.stem", 0.5), ("backbone", 0.1), ("linear", 2.0))
LR = 0.3


def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(backbones.create("r3d_tiny"), 3, NetConfig(dropout=0.0, init_std=0.1))


def batch() -> dict[str, torch.Tensor]:
    clips = torch.randn(6, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))
    return {"clips": clips, "labels": torch.tensor([0, 1, 2, 0, 1, 2]), "index": torch.arange(6)}


class Loader:
    """Loader that repeats one batch."""

    def __init__(self) -> None:
        self.unreadable: dict[str, str] = {}

    def __len__(self) -> int:
        return 4

    def __iter__(self):
        return iter([batch()] * 4)

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass

    def refill(self) -> None:
        pass

    def remember(self, unreadable) -> None:
        pass


def make_run(net: Classifier, optim: Optim, **more) -> Run:
    config = Config(
        task="recognition",
        backbone="r3d_tiny",
        work_dir="",
        data=Data(root=""),
        plan=None,
        net=NetConfig(),
        optim=optim,
        schedule=Schedule(kind="constant"),
        train=Train(epochs=2),
    )
    return Run(
        config=config,
        ranks=Ranks(torch.device("cpu")),
        loader=cast(Any, Loader()),
        net=net,
        model=net,
        optimizer=make_optimizer(net, optim),
        identity={},
        **more,
    )


def expected_factor(name: str) -> float:
    return 0.5 if name.startswith("backbone.stem.") else 0.1 if name.startswith("backbone.") else 2.0


@pytest.mark.parametrize("plateau_factor", [1.0, 0.25])
def test_sgd_moves_each_part_by_its_factor(plateau_factor):
    """Also after the rate has fallen at a plateau. Without momentum, decay and clipping."""
    net, plain = classifier(), classifier()
    assert any(name.startswith("backbone.stem.") for name, _ in plain.named_parameters())
    F.cross_entropy(plain.logits(batch()["clips"]), batch()["labels"]).backward()
    optim = Optim(lr=LR, momentum=0.0, weight_decay=0.0, clip_norm=None, lr_factors=FACTORS)
    run = make_run(net, optim, validator=SimpleNamespace(lr_factor=plateau_factor))
    train_step(run, iter(run.loader), 0)
    moved = dict(net.named_parameters())
    for name, parameter in plain.named_parameters():
        step = plateau_factor * LR * expected_factor(name) * parameter.grad
        torch.testing.assert_close(moved[name].detach(), parameter.detach() - step, rtol=1e-4, atol=1e-6)
        assert step.abs().max() > 1e-5, name


def test_adamw_matches_torch_with_three_groups():
    net, plain = classifier(), classifier()
    groups: dict[float, list[torch.nn.Parameter]] = {}
    for name, parameter in plain.named_parameters():
        groups.setdefault(expected_factor(name), []).append(parameter)
    theirs = torch.optim.AdamW(
        [{"params": parameters, "lr": 1e-3 * factor} for factor, parameters in groups.items()],
        betas=(0.9, 0.999),
        weight_decay=0.01,
    )
    optim = Optim(name="adamw", lr=1e-3, weight_decay=0.01, clip_norm=None, lr_factors=FACTORS)
    run = make_run(net, optim)
    batches = iter(run.loader)
    for step in range(3):
        train_step(run, batches, step)
        theirs.zero_grad()
        F.cross_entropy(plain.logits(batch()["clips"]), batch()["labels"]).backward()
        theirs.step()
    moved = dict(net.named_parameters())
    for name, parameter in plain.named_parameters():
        torch.testing.assert_close(moved[name], parameter, rtol=0, atol=1e-5, msg=name)


def test_frozen_parameters_are_left_out_of_the_optimizer():
    net = classifier()
    net.freeze()
    (group,) = make_optimizer(net, Optim(lr_factors=FACTORS)).param_groups
    assert group["lr_factor"] == 2.0
    assert [id(parameter) for parameter in group["params"]] == [id(p) for p in net.linear.parameters()]


@pytest.mark.parametrize("part", ["layer1", "back", "backbone.stem.", "head"])
def test_an_unknown_part_lists_the_networks_parts(part):
    with pytest.raises(UserError, match=rf"the network has no part {part}; it has backbone, linear, and parts of them"):
        make_optimizer(classifier(), Optim(lr_factors=((part, 0.1),)))


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_moments_keep_their_parameters_when_factors_change(name, tmp_path, monkeypatch):
    """Alternating factors sort parameters into two groups, which changes their order."""
    monkeypatch.chdir(tmp_path)  # the run's work dir is the current folder
    before = make_run(classifier(), Optim(name=name, lr=1e-3))
    train_step(before, iter(before.loader), 0)
    saved = {key: copy.deepcopy(before.optimizer.state[parameter]) for key, parameter in before.net.named_parameters()}
    write_config(Path(), before.config, before.id)
    runs.save(before, Path("checkpoints"), 1)
    alternating = tuple((key.rpartition(".")[0], 0.1) for key in saved if key.endswith(".weight"))[::2]
    after = make_run(classifier(), Optim(name=name, lr=1e-3, lr_factors=alternating))
    _, step, _, _ = runs.resume(after, Path("checkpoints"), "auto")
    assert step == 1
    assert len(after.optimizer.param_groups) > 1
    for key, parameter in after.net.named_parameters():
        state = after.optimizer.state[parameter]
        assert state.keys() == saved[key].keys()
        for moment, value in state.items():
            assert torch.equal(value, saved[key][moment]), (key, moment)
