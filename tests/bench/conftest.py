"""The shortest possible rounds, for tests that check no rate."""

import pytest

from bench import meters
from bench.loader import ours
from bench.peers import contenders


@pytest.fixture
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warm up for one batch and try each number of workers on two."""
    monkeypatch.setattr(meters, "WARM_UP", 1)
    monkeypatch.setattr(ours, "TRIED", 2)
    monkeypatch.setattr(contenders, "ROUND_S", 0)
    monkeypatch.setattr(contenders, "BURSTS", 1)
