"""Measure our loader alone over whole epochs, with workers: its first batch, epoch boundaries and memory."""

import statistics
from contextlib import closing
from time import perf_counter
from typing import Any

from bench.meters import Round, measure, memory, times_ms
from dali_pipelines import limits
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task
from trainers.engine.loop import endless


def measure_epochs(index: Index, task: Task, settings: dict[str, Any], *, epochs: int) -> dict[str, Any]:
    """Return the figures of one task over `epochs` epochs, after an untimed one.

    Args:
        settings: of the loader; `workers` None for one per core.
    """
    workers = limits.cores() if settings["workers"] is None else settings["workers"]
    with closing(ClipLoader(index, task, **settings | {"workers": workers})) as loader:
        batches, length = endless(loader), len(loader)
        began = perf_counter()
        next(batches)
        first_batch_s = perf_counter() - began
        timed = measure(batches, epochs * length, device=settings["device"], untimed=length - 1)
    return {"first_batch_s": round(first_batch_s, 2), "workers": workers, **figures(timed, length)}


def figures(timed: Round, length: int) -> dict[str, Any]:
    """Return the times and memory of whole epochs of `length` batches each.

    `p99_to_median` and `epoch_start_to_median` are about 1 if nothing stalls; the latter uses the median of the first
    batches of epochs.
    """
    median = statistics.median(timed.seconds)
    times = times_ms([timed])
    return {
        "epochs": len(timed.seconds) // length,
        "batches_an_epoch": length,
        **times,
        "p99_to_median": round(times["batch_ms_p99"] / times["batch_ms_p50"], 2),
        "epoch_start_to_median": round(statistics.median(timed.seconds[::length]) / median, 2),
        **memory([timed]),
    }
