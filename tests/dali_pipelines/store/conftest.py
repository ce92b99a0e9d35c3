"""What tests of files at URLs share."""

import pytest

from dali_pipelines.store import remote


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pauses, a short timeout, and file systems that forget the ones of other tests."""
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.4)
    remote._filesystem.cache_clear()
    remote._remote.cache_clear()
