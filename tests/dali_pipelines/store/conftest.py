"""A plain video, and short waits for tests of files at URLs."""

from pathlib import Path

import pytest

from dali_pipelines.store import remote
from tests.helpers.media import make_video


@pytest.fixture
def short_remote_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten pauses and timeout, and clear the cached file systems of other tests."""
    monkeypatch.setattr(remote, "PAUSES", (0.01, 0.02, 0.03))
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.4)
    remote._filesystem.cache_clear()
    remote._remote.cache_clear()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a blurred test picture, whose colors survive chroma subsampling."""
    blurred = ["-crf", "4", "-vf", "gblur=sigma=3"]
    return make_video(tmp_path_factory.mktemp("odd") / "plain.mp4", frames=4, size=(96, 64), extra=blurred)
