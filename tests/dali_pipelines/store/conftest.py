"""Fixtures for tests of files at URLs."""

import pytest

from dali_pipelines.store import remote


@pytest.fixture
def short_remote_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten pauses and timeout, and clear the cached file systems of other tests."""
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.4)
    remote._filesystem.cache_clear()
    remote._remote.cache_clear()
