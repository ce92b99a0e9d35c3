"""bench.faults.workers: a short version of the committed run."""

import pytest

from bench.faults.killer import SETTLE
from bench.faults.workers import kill_workers

pytestmark = pytest.mark.slow


def test_random_kills_change_no_batch(vp9_store):
    *rows, last = kill_workers("a few kills", vp9_store, 6)
    assert [row.injected for row in rows] == [1, 2, 3, 4, 5]
    assert last.injected == 6
    assert last.passed
    assert last.bits_equal
    assert last.details["batches"] > 6 * SETTLE
