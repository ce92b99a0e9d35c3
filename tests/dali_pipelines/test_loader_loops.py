"""ClipLoader as scripts and notebooks loop over it: in several threads, and until they drop it."""

import gc
import threading

import pytest

from bench.faults.killer import living_workers
from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task, rot3d

pytestmark = pytest.mark.slow

ROT3D = Task("rot3d", rot3d.Config(num_frames=4, strides=(1,)))


def rows(batches) -> list[list[int]]:
    return [batch["index"].tolist() for batch in batches]


@pytest.mark.parametrize("workers", [0, 1])
def test_loops_in_two_threads_share_the_batches_of_an_epoch(vp9_store, workers):
    """Batches were counted as others, so videos seemed to be unreadable, and there were too many."""
    whole = rows(ClipLoader(vp9_store, ROT3D, batch_size=1, seed=5))
    loader = ClipLoader(vp9_store, ROT3D, batch_size=1, seed=5, workers=workers)
    loops = [iter(loader), iter(loader)]
    found = rows(map(next, loops))  # both have begun
    threads = [threading.Thread(target=lambda loop=loop: found.extend(rows(loop))) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(whole)
    assert not loader.unreadable
    assert loader.state_dict()["step"] == 0
    assert loader.state_dict()["epoch"] == 1
    loader.close()


def test_a_loader_that_is_dropped_or_left_ends_its_workers_at_once(vp9_store):
    """A notebook's cell that was run again left its workers until Python collected cycles, if ever."""
    before = len(living_workers())
    loader = ClipLoader(vp9_store, ROT3D, batch_size=2, workers=1)
    next(iter(loader))
    assert len(living_workers()) == before + 1
    gc.disable()
    try:
        del loader
        assert len(living_workers()) == before
    finally:
        gc.enable()
    with ClipLoader(vp9_store, ROT3D, batch_size=2, workers=1) as loader:
        next(iter(loader))
    assert len(living_workers()) == before
