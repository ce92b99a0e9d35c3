"""Which video is in which slot of which batch: a pure function of the seed and the step."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dali_pipelines.plan.rng import Stream, generator


@lru_cache(maxsize=4)
def permutation(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order of `count` dataset rows in one epoch, int64 (count,)."""
    return generator(seed, Stream.ORDER, epoch).permutation(count)


@dataclass(frozen=True)
class Order:
    """The schedule of one rank.

    Global batch `s` of an epoch is entries `[s*G, (s+1)*G)` of that epoch's permutation, G = batch_size *
    world_size, so the samples of a global batch are the same for any number of ranks. With `shuffle` the
    incomplete last batch is dropped (different rows each epoch); without it, rows are in dataset order, each
    exactly once, and the last batch is padded with empty slots.
    """

    count: int
    batch_size: int
    rank: int
    world_size: int
    seed: int
    shuffle: bool

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.world_size

    @property
    def steps(self) -> int:
        """Batches per epoch, the same on every rank."""
        return self.count // self.global_batch if self.shuffle else -(-self.count // self.global_batch)

    def at(self, step: int) -> tuple[int, int]:
        """Return (epoch, step of the epoch) of a step counted from the start of epoch 0."""
        return divmod(step, self.steps)

    def row(self, epoch: int, step: int, slot: int) -> int:
        """Return the dataset row at `slot` of this rank's batch, or -1 for an empty slot of the last batch."""
        entry = step * self.global_batch + self.rank * self.batch_size + slot
        if not self.shuffle:
            return entry if entry < self.count else -1
        return int(permutation(self.seed, epoch, self.count)[entry])

    def rows(self, epoch: int, step: int) -> np.ndarray:
        """Return the dataset rows of one batch of this rank, int64 (batch_size,)."""
        return np.array([self.row(epoch, step, slot) for slot in range(self.batch_size)], dtype=np.int64)
