"""Counter-based random numbers: a draw is a pure function of (seed, stream, epoch, index)."""

from bisect import bisect
from collections.abc import Sequence
from enum import IntEnum
from itertools import accumulate

import numpy as np


class Stream(IntEnum):
    """The purpose of a generator; two streams never share numbers."""

    ORDER = 0  # the permutation of an epoch
    SAMPLE = 1  # the plan of one sample
    REPLACEMENT = 2  # which video stands in for one that cannot be read


def generator(seed: int, stream: Stream, epoch: int, index: int = 0) -> np.random.Generator:
    """Return a fresh generator for one (seed, stream, epoch, index).

    Philox counts in its low words, so generators that differ in epoch or index never overlap. The numbers do not
    depend on the rank, worker or batch that draws them.
    """
    key = np.array([seed, stream], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=np.array([0, 0, index, epoch], dtype=np.uint64)))


def pick(rng: np.random.Generator, probs: Sequence[float]) -> int:
    """Draw an index into `probs`, whose sum is 1, like `rng.choice` but in a fraction of its time."""
    return min(bisect(list(accumulate(probs)), rng.random()), len(probs) - 1)  # sums of floats may end below 1
