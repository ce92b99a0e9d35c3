"""A rehearsal of the GPU's checks on the CPU."""

import pytest

from bench.gpu_checks import Target, default_store


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A rehearsal with its default store made."""
    place = Target("cpu", tmp_path_factory.mktemp("gpu_report"))
    default_store.create(place)
    return place
