"""Compare one loader process on one core with one on each of several cores, in alternating rounds."""

import multiprocessing
import os
import statistics
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from typing import Any

from bench.data import default_task
from bench.meters import measure, quartiles
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from trainers.engine.loop import endless

SPAWN = multiprocessing.get_context("spawn")
_own: dict[str, Any] = {}  # state of a loader process: its batches and their size


def measure_processes(
    index: Index, task: str, *, processes: int, batch_size: int, batches: int, rounds: int
) -> dict[str, Any]:
    """Return the rate of one loader process on one core, that of one on each of `processes` cores, and the efficiency.

    Efficiency is the rate of all together / (their number x the rate of one alone), the median of alternating rounds.
    The processes share memory, its bandwidth, caches and the disk.
    """
    alone, together = [], []
    with ExitStack() as stack:
        pools = [
            stack.enter_context(ProcessPoolExecutor(1, SPAWN, _start_loader, (index, task, batch_size, core)))
            for core in sorted(os.sched_getaffinity(0))[:processes]
        ]
        for _ in range(rounds):
            alone.append(_rate(pools[:1], batches))
            together.append(_rate(pools, batches))
    shares = [several / (processes * one) for one, several in zip(alone, together, strict=True)]
    return {
        "processes": processes,
        "one_clips_per_s": round(statistics.median(alone), 1),
        "all_clips_per_s": round(statistics.median(together), 1),
        "efficiency": round(statistics.median(shares), 3),
        "efficiency_quartiles": quartiles(shares, 3),
    }


def _rate(pools: list[ProcessPoolExecutor], batches: int) -> float:
    return sum(running.result() for running in [pool.submit(_loader_rate, batches) for pool in pools])


def _start_loader(index: Index, task: str, batch_size: int, core: int) -> None:
    """Pin this process to a core and create its endless loader."""
    os.sched_setaffinity(0, {core})
    _own.update(size=batch_size)
    _own["batches"] = endless(ClipLoader(index, default_task(task), batch_size=batch_size, threads=1, seed=core))


def _loader_rate(batches: int) -> float:
    size: int = _own["size"]
    return size * measure(_own["batches"], batches, device="cpu").rate
