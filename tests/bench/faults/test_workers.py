"""bench.faults.workers: a short version of the committed run."""

import pytest

from bench.faults.killer import SETTLE
from bench.faults.workers import kill_workers

pytestmark = pytest.mark.slow


def test_random_kills_change_no_batch(vp9_store):
    row = kill_workers("kills", vp9_store, 6)
    assert row.injected == 6
    assert row.passed
    assert row.bits_equal
    assert row.details["batches"] > 6 * SETTLE
