"""What a network of another package may return: its faults are named in the first step."""

import re

import pytest
import torch
from torch import nn

from configs.errors import UserError
from nets.tasks import Pretext, rot3d
from tests.helpers import loop_worker
from tests.helpers.loop import lines, run
from trainers.engine import loop
from trainers.engine.terms import OF_THE_LOG, check_first_step, check_terms

LOSS = torch.tensor(2.0, requires_grad=True)
TERM = torch.tensor(0.5)


@pytest.mark.parametrize(
    ("out", "fault"),
    [
        (LOSS, "an object of type Tensor"),
        ((LOSS, {}), "an object of type tuple"),
        ({"accuracy": TERM}, "no loss, or one without a gradient"),
        ({"loss": TERM}, "no loss, or one without a gradient"),
        ({"loss": 2.0}, "no loss, or one without a gradient"),
        ({"loss": LOSS.expand(3)}, "loss of shape (3,) on cpu"),
        ({"loss": LOSS, "accuracy": 0.5}, "accuracy of type float"),
        ({"loss": LOSS, "accuracy": TERM[None]}, "accuracy of shape (1,) on cpu"),
        ({"loss": LOSS, "accuracy": TERM.to("meta")}, "accuracy of shape () on meta"),
        ({"loss": LOSS, "time": TERM, "lr": TERM}, "terms named lr, time, as figures of the log are"),
    ],
)
def test_an_output_that_the_loop_cannot_log_is_refused(out, fault):
    """Terms such as `lr` took the place of the learning rate in the log; all others ended in a traceback."""
    with pytest.raises(UserError, match=re.escape(f"task my_pkg.my_task: the network returns {fault}")):
        check_terms(out, "my_pkg.my_task")


def test_a_loss_with_terms_of_any_dtype_is_accepted():
    check_terms({"loss": LOSS, "accuracy": TERM, "hits": torch.tensor(3), "right": torch.tensor(True)}, "any")


@pytest.mark.slow
def test_a_run_is_refused_at_its_first_step(tmp_path, monkeypatch):
    net = loop_worker.Net.forward
    monkeypatch.setattr(loop_worker.Net, "forward", lambda self, batch: net(self, batch) | {"grad_norm": TERM})
    with pytest.raises(UserError, match=r"^task fake: the network returns terms named grad_norm"):
        run(tmp_path)
    assert lines(tmp_path) == []


class Net(Pretext):
    """A parameter that a loss may miss, one that is not trained, and one that it never misses."""

    def __init__(self) -> None:
        super().__init__()
        self.extra, self.fixed, self.head = (nn.Parameter(torch.ones(1)) for _ in range(3))
        self.fixed.requires_grad_(False)


@pytest.mark.parametrize(
    ("metric", "used", "message"),
    [
        ("top1", True, "METRIC = 'top1' names none of the terms that the network returns: loss, accuracy"),
        (5, True, "METRIC = 5 names none of the terms that the network returns: loss, accuracy"),
        ("accuracy", False, "the loss depends on no extra, 1 of 3 parameters: use them, or keep them from training"),
    ],
)
def test_a_task_that_learns_nothing_it_can_show_is_refused(monkeypatch, metric, used, message):
    """It trained to its end, and the report showed no metric; several ranks failed in the second step."""
    monkeypatch.setattr(rot3d, "METRIC", metric)
    net = Net()
    out = {"loss": net.head.sum() + (net.extra.sum() if used else 0), "accuracy": TERM}
    out["loss"].backward()
    with pytest.raises(UserError, match=re.escape(f"task rot3d: {message}")):
        check_first_step(out, net, "rot3d")


@pytest.mark.slow
def test_an_unused_part_of_a_network_ends_the_run_at_its_first_step(tmp_path, monkeypatch):
    forward = loop_worker.Net.forward

    def without_backbone(self: loop_worker.Net, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        loss = torch.stack([parameter.sum() for parameter in self.head.parameters()]).sum()
        return forward(self, batch) | {"loss": loss}

    monkeypatch.setattr(loop_worker.Net, "forward", without_backbone)
    with pytest.raises(UserError, match=r"^task fake: the loss depends on no backbone\."):
        run(tmp_path)
    assert lines(tmp_path) == []


@pytest.mark.slow
def test_only_the_first_step_of_a_run_is_checked_and_none_after_a_resume(tmp_path, monkeypatch):
    """SGD without momentum keeps no state, by which the first step was known: each step was checked."""
    calls = []
    monkeypatch.setattr(loop, "check_first_step", lambda *args: calls.append(args))
    for steps in ("3", "5"):
        run(tmp_path, "--max-steps", steps, "--set", "optim.momentum=0")
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5]
    assert len(calls) == 1


@pytest.mark.slow
def test_the_names_of_the_log_are_those_that_it_writes(tmp_path):
    """Except for the memory of a GPU, which is not there."""
    run(tmp_path, "--max-steps", "1", "--set", "train.online_probe=true")
    assert {*lines(tmp_path)[0]} - {"loss", "target"} == {*OF_THE_LOG} - {"cuda_peak_mib"}
