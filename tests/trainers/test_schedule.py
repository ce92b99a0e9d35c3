"""trainers.engine.schedule against torch's schedulers, mmcv's formulas and figures computed by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from configs.optim import Schedule
from trainers.engine.schedule import lr_at

BASE = 0.01


def rates(schedule: Schedule, *, epochs: int, steps_per_epoch: int) -> list[float]:
    total = epochs * steps_per_epoch
    return [
        lr_at(schedule, BASE, step=step, epoch=step // steps_per_epoch, total_steps=total, epochs=epochs)
        for step in range(total)
    ]


def torch_rates(make, *, steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=BASE)
    scheduler = make(optimizer)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return seen


def test_step_by_epoch_matches_torchs_multi_step():
    ours = rates(Schedule(kind="step", milestones=(3, 7)), epochs=10, steps_per_epoch=4)
    theirs = torch_rates(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 7], 0.1), steps=10)
    assert ours == pytest.approx([rate for rate in theirs for _ in range(4)])
    assert ours[11:13] == pytest.approx([0.01, 0.001])  # last step of epoch 2, first of epoch 3


def test_step_by_iteration_counts_optimizer_steps():
    ours = rates(Schedule(kind="step", by="iteration", milestones=(5, 6), gamma=0.5), epochs=2, steps_per_epoch=5)
    assert ours == pytest.approx([0.01] * 5 + [0.005] + [0.0025] * 4)


@pytest.mark.parametrize("by", ["epoch", "iteration"])
def test_cosine_matches_torchs_annealing_to_zero(by):
    ours = rates(Schedule(kind="cosine", by=by), epochs=6, steps_per_epoch=5)
    length = 6 if by == "epoch" else 30
    theirs = torch_rates(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, length), steps=length)
    assert ours == pytest.approx([rate for rate in theirs for _ in range(30 // length)])


def test_warmup_matches_mmcv():
    schedule = Schedule(kind="step", milestones=(40, 60, 80), warmup_iters=1000, warmup_ratio=0.1)
    ours = rates(schedule, epochs=90, steps_per_epoch=100)
    assert ours[0] == pytest.approx(0.001)
    assert ours[500] == pytest.approx(0.0055)
    for step in range(1000):
        assert ours[step] == pytest.approx(BASE * (1 - (1 - step / 1000) * (1 - 0.1)))
    assert ours[1000] == BASE
    assert ours[4000] == pytest.approx(0.001)


def test_warmup_of_a_constant_rate_matches_torch():
    ours = rates(Schedule(kind="constant", warmup_iters=8, warmup_ratio=0.25), epochs=3, steps_per_epoch=4)
    theirs = torch_rates(lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.25, 1.0, 8), steps=12)
    assert ours == pytest.approx(theirs)


@given(st.data(), st.sampled_from(["step", "cosine", "constant"]), st.integers(0, 30))
def test_the_rate_never_exceeds_the_base_nor_rises_after_warmup(data, kind, warmup):
    milestones = data.draw(st.sets(st.integers(1, 9))) if kind == "step" else set()
    schedule = Schedule(kind=kind, milestones=tuple(sorted(milestones)), warmup_iters=warmup)
    ours = rates(schedule, epochs=10, steps_per_epoch=3)
    assert all(0 <= rate <= BASE and math.isfinite(rate) for rate in ours)
    after = ours[warmup:]
    assert all(a >= b for a, b in pairwise(after))


def test_warmup_cosine_has_the_figures_of_cstp():
    """specs/cstp.md 4: 300 epochs, which it counts from 1, at a rate of 0.03."""
    schedule = Schedule(kind="warmup_cosine")
    figures = {1: 1e-5, 2: 2.1e-4, 76: 0.0150, 151: 0.0300, 200: 0.0228, 225: 0.0153, 250: 0.0078, 300: 1.3e-5}
    for epoch, rate in figures.items():
        for step in (7 * epoch - 7, 7 * epoch - 1):  # first and last step of an epoch
            ours = lr_at(schedule, 0.03, step=step, epoch=epoch - 1, total_steps=2100, epochs=300)
            assert ours == pytest.approx(rate, abs=5e-5 if rate > 1e-3 else 1e-6)


def test_warmup_cosine_with_epochs_matches_masked_autoencoders():
    """numpy.linspace from the floor to the rate in 4 of 20 epochs of 5 steps, then half a cosine back."""
    ours = rates(Schedule(kind="warmup_cosine", by="iteration", warmup_epochs=4), epochs=20, steps_per_epoch=5)
    warmup_rates = np.linspace(1e-5, BASE, 20, endpoint=False)
    cosine_rates = [1e-5 + 0.5 * (BASE - 1e-5) * (1 + math.cos(math.pi * step / 80)) for step in range(80)]
    assert ours == pytest.approx([*warmup_rates, *cosine_rates])


def test_warmup_of_no_epochs_starts_at_the_full_rate():
    assert rates(Schedule(kind="warmup_cosine", warmup_epochs=0), epochs=4, steps_per_epoch=1)[0] == BASE


@pytest.mark.parametrize(
    "changes", [{"kind": "cosine", "warmup_epochs": 5}, {"kind": "warmup_cosine", "warmup_epochs": -1}]
)
def test_warmup_epochs_are_refused_for_other_schedules(changes):
    with pytest.raises(ValueError, match="warmup_epochs = "):
        Schedule(**changes)
