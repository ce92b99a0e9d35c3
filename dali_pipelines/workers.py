"""A pool of processes that may die at any moment: a broken video takes down a worker, never the run.

Workers share nothing that a dying process could leave locked. Each has its own pipe; arrays travel in shared memory,
one slot per job.
"""

import logging
import math
import os
import pickle
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from typing import IO, Any, Generic, TypeVar

from configs.errors import UserError
from dali_pipelines.read_ahead import Unread
from dali_pipelines.shared_memory import SLOT, SharedMemory, pack, unpack
from dali_pipelines.worker import Worker, require_main_guard, stop_at_exit

log = logging.getLogger(__name__)

Job = TypeVar("Job")
Result = TypeVar("Result")

CHANCES = 2
"""Deaths of its worker after which a job is blamed; a single one may have another cause."""
SMALL_SLOT = 1 << 20
"""Bytes of a slot for results with hardly any arrays."""
FAILED_STARTS = 20
"""Consecutive workers that may die while starting; the next one ends the run."""
POLL_SECONDS = 1.0
"""Seconds between checks for deaths that do not show on the pipe, and the most that a job's clock advances at once."""


@dataclass(frozen=True)
class Crashed:
    """The result of a job that kept killing its worker; `by` is "SIGSEGV" or "exit code 1", for example."""

    by: str
    deaths: int = CHANCES

    def __str__(self) -> str:
        return f"its process was killed {'twice' if self.deaths == 2 else f'{self.deaths} times'}, by {self.by}"


@dataclass(eq=False)
class _Pending:
    job: Any
    slot: int | None = None
    deaths: int = 0
    outcome: Any = None
    """Crashed, or what the worker sent: whether the function raised, and the packed result or exception."""
    dropped: bool = False


class Pool(Generic[Job, Result]):
    """Call `function` with jobs in worker processes. Jobs of a worker that died are retried, by others first.

    Processes are spawned: a script that makes a pool needs the usual `if __name__ == "__main__":` guard.

    Args:
        function: anything that can be pickled; each worker unpickles it once.
        workers: processes, at least 1.
        ahead: jobs handed out before the first of them is done.
        spare: results that may be kept without a copy; see `run`.
        find: locates the bytes of a job. A worker prefetches those of all its jobs in threads and calls
            `function(job, read)`; see `read_ahead`. If reading kills it, its first job is blamed.
        slot: maximum bytes of the arrays of a result.
        timeout: seconds that a job may take; a worker that takes longer is killed. Time in which this process was
            stopped does not count.
        limit: maximum bytes of all results made or kept, each counted as the largest so far. If `ahead` results would
            exceed it, fewer jobs are handed out, but at least one.
    """

    def __init__(
        self,
        function: Callable[..., Result],
        *,
        workers: int,
        ahead: int,
        spare: int = 0,
        find: Callable[[Job], Unread] | None = None,
        slot: int = SLOT,
        timeout: float = math.inf,
        limit: float = math.inf,
    ) -> None:
        require_main_guard()
        self.ahead, self.spare, self.timeout, self.limit = ahead, spare, timeout, limit
        self._most = ahead if limit == math.inf else min(ahead, workers)  # until a first result shows its size
        self._largest = 0
        self._depth = math.ceil(ahead / workers)
        self._memory = SharedMemory(1 + ahead + spare, slot)
        # Slot 0 holds the function: starting a process blocks until it has read what it is given, if that is much.
        self._function = pack((function, find), self._memory.room(0))
        self._free = list(range(ahead + spare, 0, -1))  # last in, first out: few slots are ever touched
        self._busy: set[int] = set()
        self._pending: deque[_Pending] = deque()
        self._failed_starts = 0
        self._clock, self._read_clock_at = 0.0, time.monotonic()
        self._process = os.getpid()
        self._workers: list[Worker] = []
        # Kill workers at exit before multiprocessing sends SIGTERM, which they ignore, and waits.
        Finalize(self, _end, (self._workers, self._memory.file), exitpriority=0)
        for _ in range(workers):
            Worker.start(self._workers, self._memory, self._function, open=True)

    def __enter__(self) -> "Pool[Job, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill the workers, whatever they are doing; in a fork, leave them to the process that started them."""
        if os.getpid() == self._process:
            _end(self._workers, self._memory.file)

    def run(self, jobs: Iterable[Job], *, ordered: bool = True) -> Generator[tuple[Job, Result | Crashed], None, None]:
        """Yield (job, function(job)) in the order of the jobs, or as they finish if not `ordered`.

        Arrays of a result are in shared memory, which is reused once they are released; results kept beyond `spare`
        are copied. Closing a run drops its jobs. Between two results of a run, another run of a single job is allowed.

        Raises:
            UserError: workers exit while starting.
            Exception: what the function raised, with the worker's traceback as a note.
        """
        remaining = map(_Pending, jobs)
        tasks: deque[_Pending] = deque()
        try:
            while True:
                while len(tasks) < self._most and (task := next(remaining, None)):
                    tasks.append(task)
                    self._pending.append(task)
                if not tasks:
                    return
                self._step(0)
                while not (done := [task for task in tasks if task.outcome and (task is tasks[0] or not ordered)]):
                    self._step(POLL_SECONDS)
                tasks.remove(done[0])
                yield done[0].job, self._result(done[0])
        finally:
            for task in tasks:
                self._drop(task)

    def _step(self, timeout: float) -> None:
        """Receive what workers sent, replace dead ones, and hand out jobs."""
        workers = {worker.pipe: worker for worker in self._workers}
        ready = wait(list(workers), timeout)
        self._advance_clock()
        for pipe in ready:
            self._read(workers[pipe])  # type: ignore[index]
        if timeout and not ready:  # a process forked by a worker may hold the worker's end
            for worker in workers.values():
                if not worker.process.is_alive():
                    self._replace(worker)
                elif worker.held and self._clock - worker.since > self.timeout:
                    worker.kill_hung()
        self._hand_out()

    def _advance_clock(self) -> None:
        """Count the seconds since the last call, but not those in which Ctrl-Z or Slurm stopped all processes."""
        now = time.monotonic()
        self._clock += min(now - self._read_clock_at, POLL_SECONDS)
        self._read_clock_at = now

    def _read(self, worker: Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(worker)
            return
        if isinstance(message, UserError):
            raise message
        worker.since = self._clock
        if not worker.started:
            worker.started = worker.open = True
            self._failed_starts = 0
        else:
            task = worker.held.popleft()
            task.outcome = message
            if task.dropped:
                self._release(task)

    def _replace(self, worker: Worker) -> None:
        stop_at_exit()
        worker.end()
        by = f"a limit of {self.timeout:g} s for a job" if worker.hung else worker.killed_by()
        if not worker.started:
            self._failed_starts += 1
            worker.require_guard()
            if by.startswith("exit") or self._failed_starts > FAILED_STARTS:
                raise UserError(f"a worker process ended while it started ({by}): see what it printed")
        elif worker.held and (slot := worker.held[0].slot) is not None and self._memory.is_begun(slot):
            first = worker.held[0]  # else it was dead before it was given the job
            first.deaths += 1
            if first.deaths == CHANCES:
                first.outcome = Crashed(by)
                self._release(worker.held.popleft())
        for task in reversed(worker.held):
            if task.dropped:
                self._release(task)
            else:
                self._pending.appendleft(task)
        self._workers.remove(worker)
        Worker.start(self._workers, self._memory, self._function, open=False)

    def _hand_out(self) -> None:
        """Hand out jobs to the workers that hold the fewest."""
        takers = [worker for worker in self._workers if worker.open]
        while takers and self._pending:
            worker = min(takers, key=lambda taker: len(taker.held))
            task = self._pending[0]
            if len(worker.held) == self._depth or not (task.slot or self._free):
                return
            if not task.slot:
                task.slot = self._free.pop()
                self._busy.add(task.slot)
            self._memory.mark(task.slot, begun=False)
            message = pickle.dumps((task.job, task.slot))
            worker.since = worker.since if worker.held else self._clock
            worker.held.append(self._pending.popleft())
            with suppress(OSError):  # it died; this shows once all it sent has been read
                worker.pipe.send_bytes(message)

    def _result(self, task: _Pending) -> Any:
        if isinstance(task.outcome, Crashed):
            return task.outcome
        raised, head, spans = task.outcome
        assert task.slot
        room = self._memory.room(task.slot)
        self._bound(spans[-1][1] if spans else 1)
        kept = self.ahead + self.spare - len(self._free) - len(self._busy)
        if spans and kept < self.spare:
            self._busy.remove(task.slot)
            weakref.finalize(room, self._free.append, task.slot)
        else:
            room = room[: spans[-1][1] if spans else 0].copy()
            self._release(task)
        result = unpack(head, spans, room)
        if raised:
            raise result
        return result

    def _bound(self, size: int) -> None:
        """Update how many jobs may be handed out after a result of `size` bytes."""
        if size <= self._largest or self.limit == math.inf:
            return
        self._largest = size
        self._most = int(min(self.ahead, max(1, self.limit // size - self.spare)))
        if self._most < self.ahead:
            log.warning(
                "results have up to %.3g MiB: %d instead of %d are made ahead, to stay within %.4g MiB",
                *(size / 2**20, self._most, self.ahead, self.limit / 2**20),
            )

    def _drop(self, task: _Pending) -> None:
        task.dropped = True
        if task in self._pending:
            self._pending.remove(task)
            self._release(task)
        elif task.outcome:
            self._release(task)

    def _release(self, task: _Pending) -> None:
        if task.slot in self._busy:
            self._busy.remove(task.slot)
            self._free.append(task.slot)
        task.slot = None


def run_jobs(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int
) -> Iterator[tuple[Job, Result | Crashed]]:
    """Yield (job, function(job)) as jobs finish, with `Crashed` for a job that killed its process twice.

    Exceptions of the function are raised here. Results may hold only small arrays: slots are small, as the address
    space of a process may be limited.
    """
    pool: Pool[Job, Result] = Pool(function, workers=workers, ahead=workers, slot=SMALL_SLOT)
    with pool:
        yield from pool.run(jobs, ordered=False)


def _end(workers: list[Worker], memory: IO[bytes]) -> None:
    started = [worker.process for worker in workers if worker.process.pid]
    for process in started:
        process.kill()
    for process in started:
        process.join()
    for worker in workers:
        worker.pipe.close()
    workers.clear()
    memory.close()
