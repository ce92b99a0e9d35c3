"""Feed a pipeline samples made by worker processes, or by this process, which prefetches their bytes."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from itertools import count
from typing import Any

from dali_pipelines import limits
from dali_pipelines.read_ahead import DEPTH, Read, ReadAhead
from dali_pipelines.samples import Position, Sample, SampleSource
from dali_pipelines.store.index import Index
from dali_pipelines.store.storage import is_url
from dali_pipelines.unreadable import Unreadable
from dali_pipelines.workers import Crashed, Pool

MEMORY_SHARE = 0.25
"""Share of a process's memory for samples made ahead, and again for batches. Processes share the machine."""


class Feed:
    """Make samples ahead of the pipeline.

    Args:
        unreadable: videos found unreadable so far, which are replaced; videos that crash a worker are added.
        workers: processes that make samples, started by the first `start`.
        timeout_s: seconds a worker may take for a sample; see `Pool`.
    """

    def __init__(self, unreadable: Unreadable, *, workers: int, timeout_s: float) -> None:
        self.unreadable, self.workers, self.timeout_s = unreadable, workers, timeout_s
        self._pool: Pool[Position, Sample] | None = None
        self._samples: Generator[Sample, None, None] | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy gets: it starts processes of its own."""
        return self.__dict__ | {"_pool": None, "_samples": None}

    def start(self, source: SampleSource) -> Callable[[], Sample] | None:
        """Return a function that gives the next sample, from the source's first step on; None if none is prefetched."""
        remote, size = is_remote(source.index), source.order.batch_size
        if not (self.workers or remote):
            return None
        if self.workers and not self._pool:
            # With only one batch ahead, workers would idle until its last sample is made.
            ahead = max(size * (1 + math.ceil(self.workers / size)), self.workers * DEPTH * remote)
            self._pool = Pool(
                source.sample,
                workers=self.workers,
                ahead=ahead,
                spare=size,
                find=source.first if remote else None,
                timeout=self.timeout_s,
                limit=memory_ahead(),
            )
        samples = self._samples = self._of_workers(self._pool, source) if self._pool else self._own(source)
        return lambda: next(samples)

    def rewind(self) -> None:
        """Discard samples made ahead."""
        if self._samples:
            self._samples.close()

    def close(self) -> None:
        """Discard samples made ahead and end the worker processes."""
        pool, self._pool = self._pool, None  # before anything that a second Ctrl-C may cut short
        self.rewind()
        if pool:
            pool.close()

    def _positions(self, source: SampleSource) -> Iterator[Position]:
        """Yield schedule positions from the source's first step on."""
        slots = range(source.order.batch_size)
        return (source.position(i, slot)._replace(unreadable=self.unreadable.rows) for i in count() for slot in slots)

    def _own(self, source: SampleSource) -> Generator[Sample, None, None]:
        """Yield samples made in this process; only their bytes are read ahead."""
        held = deque[tuple[Position, Read]]()
        with closing(ReadAhead(source.first)) as ahead:
            for position in self._positions(source):
                held.append((position, ahead.begin(position)))
                if len(held) == DEPTH:
                    yield source.sample(*held.popleft())

    def _of_workers(self, pool: Pool[Position, Sample], source: SampleSource) -> Generator[Sample, None, None]:
        """Yield samples made by workers, in order."""
        for position, sample in pool.run(self._positions(source)):
            while isinstance(sample, Crashed):
                row = next(source.candidates(position))
                if row not in self.unreadable.rows:
                    self.unreadable.add(row, str(sample))
                ((position, sample),) = pool.run([position._replace(unreadable=self.unreadable.rows)])
            yield sample


def memory_ahead() -> float:
    """Return the bytes of host memory that a process may use for samples or batches made ahead."""
    return MEMORY_SHARE * limits.memory() / limits.local_ranks()


def is_remote(index: Index) -> bool:
    """Return whether any video of an index is at a URL."""
    return is_url(index.root) or b"://" in index.table.sources.values.tobytes()
