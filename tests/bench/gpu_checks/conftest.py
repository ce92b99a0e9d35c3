"""A rehearsal of the GPU's checks on the CPU."""

import pytest

from bench.gpu_checks import Where, default_store


@pytest.fixture(scope="package")
def where(tmp_path_factory: pytest.TempPathFactory) -> Where:
    """A rehearsal with its default store made."""
    place = Where("cpu", tmp_path_factory.mktemp("gpu_report"))
    default_store.made(place)
    return place
