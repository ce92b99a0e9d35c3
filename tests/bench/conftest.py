"""Rounds that are as short as can be, for tests that judge no rate."""

import pytest

from bench import meters
from bench.loader import ours
from bench.peers import contenders


@pytest.fixture
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """One batch before the clock starts, and two in each try of a number of workers."""
    monkeypatch.setattr(meters, "WARM_UP", 1)
    monkeypatch.setattr(ours, "TRIED", 2)
    monkeypatch.setattr(contenders, "ROUND_S", 0)
    monkeypatch.setattr(contenders, "BURSTS", 1)
