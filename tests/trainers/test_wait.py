"""What counts as waiting for data when the loader is refilled while the GPU computes."""

import time

import pytest

from configs.optim import Optim
from tests.trainers.test_lr_factors import Loader, classifier, make_run
from trainers.engine import loop

REFILL_S = 5.0


@pytest.mark.parametrize(("idle", "wait"), [(True, REFILL_S), (False, 0.0)])
def test_refilling_counts_as_waiting_only_if_the_gpu_is_idle(monkeypatch, idle, wait):
    now = 0.0

    def refill(loader):
        nonlocal now
        now += REFILL_S

    run = make_run(classifier(), Optim(lr=0.1))
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    monkeypatch.setattr(Loader, "refill", refill)
    monkeypatch.setattr(loop, "is_idle", lambda device: idle)
    assert loop.train_step(run, iter(run.loader), 0).wait == wait


def test_a_cpu_is_never_idle():
    run = make_run(classifier(), Optim(lr=0.1))
    assert not loop.is_idle(run.ranks.device)
