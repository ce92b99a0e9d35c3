"""Order, plans and pixels are those of one process for any ranks and workers, however often they change.

Only on one backend: pixels decoded by PyAV and by DALI differ by rounding (tests/dali_pipelines/pixels).
"""

import random
from contextlib import ExitStack, closing

import pytest

from bench.faults.ranks import GLOBAL_BATCH, STEPS, TASK, loaders, reference, take
from dali_pipelines.loader import ClipLoader

pytestmark = pytest.mark.slow

State = dict[str, int]


@pytest.fixture(scope="module")
def videos(h264_store):
    """Return two batches of videos, so six steps end mid-epoch."""
    return h264_store.repeat([4] * len(h264_store))


@pytest.fixture(scope="module")
def expected(videos) -> list[bytes]:
    digests = reference(videos, STEPS)
    assert len(set(digests)) == STEPS
    return digests


@pytest.mark.parametrize("world", [2, 3, 4, 8])
def test_batches_do_not_depend_on_world_size(videos, expected, world):
    with ExitStack() as stack:
        assert take(loaders(stack, videos, world), STEPS) == expected


@pytest.mark.parametrize("workers", [1, 4])
def test_batches_do_not_depend_on_workers(videos, expected, workers):
    with ExitStack() as stack:
        assert take(loaders(stack, videos, 1, workers), STEPS) == expected


@pytest.mark.parametrize("seed", range(3))
def test_changing_ranks_and_workers_keeps_the_batches(videos, expected, seed):
    """Each part resumes from the state of the previous one, whose prefetched batches are dropped."""
    draw = random.Random(seed)
    digests: list[bytes] = []
    state: State | None = None
    while len(digests) < STEPS:
        with ExitStack() as stack:
            ranks = loaders(stack, videos, draw.choice([1, 2, 3, 4, 8]), draw.choice([0, 0, 1]))
            for rank in ranks:
                if state:
                    rank.load_state_dict(state)
            digests += take(ranks, draw.randint(1, 2))
            state = ranks[0].state_dict()
            assert all(rank.state_dict() == state for rank in ranks)
    assert digests[:STEPS] == expected


def test_another_seed_gives_other_batches(videos, expected):
    """The comparisons above can fail."""
    with closing(ClipLoader(videos, TASK, batch_size=GLOBAL_BATCH, seed=4, threads=1)) as other:
        assert take([other], 1) != expected[:1]
