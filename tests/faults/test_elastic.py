"""Order, plans and pixels are those of one process, whatever the ranks and workers, and however often they change.

On one backend: where PyAV and DALI decode the same video, pixels differ by rounding (tests/dali_pipelines/pixels).
"""

import random
from contextlib import ExitStack, closing

import pytest
import torch

from bench.faults.workers import digest
from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task, ctp

pytestmark = pytest.mark.slow

GLOBAL_BATCH, STEPS = 24, 6
TASK = Task("ctp", ctp.Config(num_frames=4, size=32, short_sides=(32,), strides=(1, 2), patches=1))
State = dict[str, int]


@pytest.fixture(scope="module")
def videos(h264_store):
    """Twice as many as in a batch, so that six steps end in the middle of the third epoch."""
    return h264_store.repeat([4] * len(h264_store))


def loaders(stack: ExitStack, videos, world: int, workers: int = 0) -> list[ClipLoader]:
    """All ranks of a run, in this process."""
    size = GLOBAL_BATCH // world

    def loader(rank: int) -> ClipLoader:
        return ClipLoader(
            videos, TASK, batch_size=size, rank=rank, world_size=world, seed=3, workers=workers, threads=1
        )

    return [stack.enter_context(closing(loader(rank))) for rank in range(world)]


def take(ranks: list[ClipLoader], steps: int) -> list[bytes]:
    """Digests of the next global batches: every name, shape and bit."""
    digests: list[bytes] = []
    while len(digests) < steps:
        for parts in zip(*ranks, strict=True):
            digests.append(digest({name: torch.cat([part[name] for part in parts]) for name in parts[0]}))
            if len(digests) == steps:
                break
    return digests


@pytest.fixture(scope="module")
def reference(videos) -> list[bytes]:
    with ExitStack() as stack:
        digests = take(loaders(stack, videos, 1), STEPS)
    assert len(set(digests)) == STEPS
    return digests


@pytest.mark.parametrize("world", [2, 3, 4, 8])
def test_any_number_of_ranks_makes_the_batches_of_one(videos, reference, world):
    with ExitStack() as stack:
        assert take(loaders(stack, videos, world), STEPS) == reference


@pytest.mark.parametrize("workers", [1, 4])
def test_workers_make_the_batches_of_none(videos, reference, workers):
    with ExitStack() as stack:
        assert take(loaders(stack, videos, 1, workers), STEPS) == reference


@pytest.mark.parametrize("seed", range(3))
def test_ranks_and_workers_may_change_at_any_step(videos, reference, seed):
    """Each part goes on from the state of the one before, which is dropped with all that it had made ahead."""
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
    assert digests[:STEPS] == reference


def test_another_seed_makes_other_batches(videos, reference):
    """What is compared above can differ."""
    with closing(ClipLoader(videos, TASK, batch_size=GLOBAL_BATCH, seed=4, threads=1)) as other:
        assert take([other], 1) != reference[:1]
