"""A rehearsal of the GPU's checks on the CPU."""

import pytest

from bench import data
from bench.gpu_checks import Target, default_store


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """A rehearsal with its default store made: videos just long enough for each clip that is asked for."""
    place = Target("cpu", tmp_path_factory.mktemp("gpu_report"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "NUM_FRAMES", 124)
        default_store.create(place)
    return place
