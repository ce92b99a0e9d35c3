"""Skip tests of loaders that cannot be loaded here."""

import pytest


def skip_unless_installed(module: str) -> None:
    """Skip the test, with the reason, if a peer's module is missing, or FFmpeg for torchcodec."""
    pytest.importorskip(module)
    if module.startswith("torchcodec") and pytest.importorskip("torchcodec").ffmpeg_major_version is None:
        pytest.skip("torchcodec finds no libraries of FFmpeg; `make test` lends it those of PyAV")
