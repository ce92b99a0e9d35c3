"""The schedule: which rank gets which video at which step."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dali_pipelines.plan.order import Order
from dali_pipelines.plan.rng import Stream, generator


def order(count: int, batch: int, *, rank: int = 0, world: int = 1, seed: int = 0, shuffle: bool = True) -> Order:
    return Order(count, batch, rank, world, seed, shuffle)


@given(st.integers(4, 200), st.integers(0, 2**63), st.integers(0, 5))
def test_global_batches_do_not_depend_on_world_size(count, seed, epoch):
    alone = order(count, 4, seed=seed)
    for world in (2, 4):
        ranks = [order(count, 4 // world, rank=r, world=world, seed=seed) for r in range(world)]
        for step in range(alone.steps):
            together = np.concatenate([each.rows(epoch, step) for each in ranks])
            np.testing.assert_array_equal(together, alone.rows(epoch, step))


@given(st.integers(1, 100), st.integers(1, 16))
def test_an_epoch_repeats_no_video_and_drops_less_than_a_batch(count, batch):
    schedule = order(count, batch)
    rows = np.concatenate([schedule.rows(3, s) for s in range(schedule.steps)] or [np.array([], int)])
    assert len(set(rows.tolist())) == len(rows)
    assert 0 <= count - len(rows) < batch


@given(st.integers(1, 100), st.integers(1, 8), st.integers(1, 4))
def test_unshuffled_order_has_every_video_once_then_padding(count, batch, world):
    ranks = [order(count, batch, rank=r, world=world, shuffle=False) for r in range(world)]
    rows = np.concatenate([each.rows(0, s) for s in range(ranks[0].steps) for each in ranks])
    assert rows[rows >= 0].tolist() == list(range(count))
    assert (rows[count:] == -1).all()


def test_every_epoch_and_seed_has_its_own_order():
    rows = [order(50, 50, seed=seed).rows(epoch, 0).tolist() for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(r) for r in rows}) == 4


@pytest.mark.parametrize("other", [(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)])
def test_generators_differ_by_seed_stream_epoch_and_index(other):
    def draws(seed: int, stream: int, epoch: int, index: int) -> set[float]:
        return set(generator(seed, Stream(stream), epoch, index).random(1000).tolist())

    assert not draws(0, 0, 0, 0) & draws(*other)
    assert draws(*other) == draws(*other)
