"""Rounds that are as short as can be, for tests that judge no rate."""

import pytest

from bench import loader_rounds, meters
from bench.peers import rounds


@pytest.fixture
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch before the clock starts, and two in each try of a number of workers."""
    for module in (meters, rounds):
        monkeypatch.setattr(module, "WARM_UP", 1)
    for name in ("TRIED", "GLANCE"):
        monkeypatch.setattr(rounds, name, 2)
    monkeypatch.setattr(loader_rounds, "TRIED", 2)
