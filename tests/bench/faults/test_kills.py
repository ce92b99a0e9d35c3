"""bench.faults.kills on a run that really is killed."""

import pytest

from bench import data
from bench.faults import kills

pytestmark = pytest.mark.slow


def test_repeated_kills_lose_nothing(tmp_path, monkeypatch):
    for name, value in {"WIDTH": 80, "HEIGHT": 64, "NUM_FRAMES": 40}.items():
        monkeypatch.setattr(data, name, value)
    monkeypatch.setitem(kills.TRAIN, "epochs", 1)
    monkeypatch.setattr(kills, "WORKERS", 0)  # each takes seconds
    row = kills.inject(0.01, tmp_path, task="moco")
    assert row.passed, row
    assert (row.injected, row.bits_equal) == (2, True)
