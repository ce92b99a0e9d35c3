"""A rehearsal of the GPU checks on the CPU."""

import pytest

from bench import data
from bench.gpu_checks import Target, default_store


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Target:
    """Create a rehearsal's default store, with videos just long enough for every clip."""
    place = Target("cpu", tmp_path_factory.mktemp("gpu_report"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "NUM_FRAMES", 124)
        default_store.create(place)
    return place
