"""Order, plans and pixels are those of one process for any ranks and workers, however often they change.

Only on one backend: pixels decoded by PyAV and by DALI differ by rounding (tests/dali_pipelines/pixels).
"""

import random
from collections.abc import Sequence
from contextlib import ExitStack, closing
from itertools import islice

import pytest
import torch

from bench.faults.workers import digest
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, ctp

pytestmark = pytest.mark.slow

GLOBAL_BATCH, STEPS = 24, 5
"""Divisible by all numbers of ranks; steps taken from a loader, which end in mid-epoch."""
TASK = Task("ctp", ctp.Config(num_frames=4, size=32, short_sides=(32,), strides=(1, 2), patches=1))
State = dict[str, int]


def loaders(stack: ExitStack, index: Index, world: int, workers: int = 0) -> list[ClipLoader]:
    """Return the loaders of all ranks, in this process."""

    def loader(rank: int) -> ClipLoader:
        size = GLOBAL_BATCH // world
        return ClipLoader(index, TASK, batch_size=size, rank=rank, world_size=world, seed=3, workers=workers, threads=1)

    return [stack.enter_context(closing(loader(rank))) for rank in range(world)]


def take(ranks: Sequence[ClipLoader], steps: int) -> list[bytes]:
    """Return digests of the next global batches: every name, shape and bit."""
    digests: list[bytes] = []
    while len(digests) < steps:
        for parts in islice(zip(*ranks, strict=True), steps - len(digests)):
            digests.append(digest({name: torch.cat([part[name] for part in parts]) for name in parts[0]}))
    return digests


@pytest.fixture(scope="module")
def videos(h264_store):
    """Return two batches of videos, so five steps end mid-epoch."""
    return h264_store.repeat([4] * len(h264_store))


@pytest.fixture(scope="module")
def expected(videos) -> list[bytes]:
    with ExitStack() as stack:
        digests = take(loaders(stack, videos, 1), STEPS)
    assert len(set(digests)) == STEPS
    return digests


@pytest.mark.parametrize("world", [2, 3, 8])
def test_batches_do_not_depend_on_world_size(videos, expected, world):
    with ExitStack() as stack:
        assert take(loaders(stack, videos, world), STEPS) == expected


def test_batches_do_not_depend_on_workers(videos, expected):
    with ExitStack() as stack:
        assert take(loaders(stack, videos, 1, 4), STEPS) == expected


@pytest.mark.parametrize("seed", range(2))
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
