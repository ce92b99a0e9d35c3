"""Prefetch the bytes of the next jobs in threads: over a network, waiting costs more than reading."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar

from dali_pipelines import limits

Job = TypeVar("Job")
DEPTH = 8
"""Minimum jobs held by a process. At 50 ms a read, this many keep up with 160 samples a second."""
THREADS = 16
MAX_BYTES, MAX_SHARE = 2**28, 1 / 64
"""Limits on a process's data read but not yet used: bytes, and share of all memory. The rest is read when needed."""


class Unread(Protocol):
    """Something located but not yet read."""

    @property
    def nbytes(self) -> int: ...
    def read(self) -> Any: ...


Read = Callable[[], tuple[Any, Any]]
"""Wait for a job's data; return what `find` found and what reading it returned, or raise what either raised."""


class ReadAhead(Generic[Job]):
    """Prefetch data of jobs in threads of this process; `find` locates what a job needs."""

    def __init__(self, find: Callable[[Job], Unread]) -> None:
        self._find = find
        self._threads = ThreadPoolExecutor(THREADS)
        self._lock, self._bytes = Lock(), 0
        self._most = min(MAX_BYTES, MAX_SHARE * limits.memory())

    def close(self) -> None:
        """Cancel reads that have not started."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def begin(self, job: Job) -> Read:
        """Start to read a job's data; call the result once to wait for it."""
        future = self._threads.submit(self._fetch, job)
        return lambda: self._take(future)

    def _fetch(self, job: Job) -> tuple[Unread, Any]:
        found = self._find(job)
        with self._lock:
            if self._bytes + found.nbytes > self._most:
                return found, None
            self._bytes += found.nbytes
        try:
            return found, found.read()
        except Exception:
            self._free(found)
            raise

    def _take(self, future: "Future[tuple[Unread, Any]]") -> tuple[Unread, Any]:
        found, data = future.result()
        if data is None:
            return found, found.read()
        self._free(found)
        return found, data

    def _free(self, found: Unread) -> None:
        with self._lock:
            self._bytes -= found.nbytes
