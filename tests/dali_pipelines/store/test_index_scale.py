"""An index the size of Kinetics-700: its cost on disk and in the memory of many processes."""

from statistics import median

import pytest

from dali_pipelines.store.files import INDEX_FILE
from tests.helpers.index_scale import memory_per_process, synthetic

pytestmark = pytest.mark.slow

PROCESSES = 3
RANKS, WORKERS = 8, 12
MAX_BYTES = 300e6


def test_processes_share_the_pages_of_a_large_index(tmp_path):
    index = synthetic(tmp_path, videos=650_000, frames=300)
    assert len(index) == 650_000
    last = index.units(649_999)
    assert (len(last.ends), last.frame_ends[-1]) == (300, 300)

    index_bytes = (tmp_path / INDEX_FILE).stat().st_size  # pages that processes share, once all are touched
    private = median(process["private"] for process in memory_per_process(index, PROCESSES))
    assert index_bytes > 200e6
    assert index_bytes + private * RANKS * (1 + WORKERS) < MAX_BYTES

    listed = index.select(range(0, 650_000, 2))
    own = median(process["private"] for process in memory_per_process(listed, PROCESSES))
    assert own < private + 3 * 4 * len(listed)  # its rows in four bytes each, plus the pickle's copies
