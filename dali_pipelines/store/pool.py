"""Work spread over processes that may crash: a broken video takes down a worker, never the run."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    function: Callable[[Job], Result], jobs: Iterable[Job], *, workers: int
) -> Iterator[tuple[Job, Result | None]]:
    """Yields (job, function(job)) as the jobs finish, with None for a job that kills its process.

    When a process dies, the jobs in flight are run again one at a time; one that dies again is the culprit.
    An exception of `function` is raised here.
    """
    remaining = iter(jobs)
    while True:
        running: dict[Future[Result], Job] = {}
        with _pool(workers) as pool:
            try:
                while True:
                    while len(running) < 2 * workers:  # few in flight: few to suspect
                        job = next(remaining, None)
                        if job is None:
                            break
                        try:
                            running[pool.submit(function, job)] = job
                        except BrokenProcessPool:
                            remaining = itertools.chain([job], remaining)
                            raise
                    if not running:
                        return
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        yield running.pop(future), result
            except BrokenProcessPool:
                pass
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        for job in running.values():
            yield job, _run_alone(function, job)


def _run_alone(function: Callable[[Job], Result], job: Job) -> Result | None:
    with _pool(1) as pool:
        try:
            return pool.submit(function, job).result()
        except BrokenProcessPool:
            return None


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned, not forked: the threads of the progress bar and of FFmpeg do not survive a fork.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Ends this process when the main one is killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
