"""Rounds of the whole loader, of its two ceilings and of its peers, that alternate; or of one loader and of several."""

import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from bench.ceilings import DecodeTask, augment_only, decode_only
from bench.data import default_task
from bench.meters import Round, measure, quartiles, slope, times_ms
from bench.peers.rounds import TRIED, Peers, best_workers, worker_counts
from dali_pipelines import limits
from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task
from trainers.engine.loop import endless

READ = 64  # clips whose bytes are counted
SPAWN = multiprocessing.get_context("spawn")
_own: dict[str, Any] = {}  # of a process of `measure_processes`: its batches and their size


def measure_task(
    index: Index, task: Task, settings: dict[str, Any], *, batches: int, rounds: int, with_peers: bool = False
) -> dict[str, Any]:
    """Return the figures of one task, from `rounds` rounds of `batches` batches of everything that is compared.

    with_peers: measure the peers too, where they can make the task's views.
    """
    batch_size, device, counts = settings["batch_size"], settings["device"], worker_counts(limits.cores())

    def rate(workers: int, batches: int) -> float:
        with closing(ClipLoader(index, task, **settings | {"workers": workers})) as loader:
            measured = measure(endless(loader), batches, device=device, ahead=workers // batch_size)
            return float(round(batch_size * measured.rate, 1))

    tried: dict[int, float] = {}
    if settings["workers"] is None:
        best, tried = best_workers(counts, rate, (TRIED,))  # starting a loader takes longer than trying it
        settings = settings | {"workers": best}
    whole = ClipLoader(index, task, **settings)
    decode = ClipLoader(index, DecodeTask(task.name, task.cfg), **settings, graph=decode_only)
    comparable = with_peers and not task.program.dali_alone  # else its views share frames: a peer takes one view each
    peers = Peers(whole, batches=batches, device=device, counts=counts) if comparable else None
    runs = {"": endless(whole), "decode_only_": endless(decode)}
    held = {"batch_size": batch_size, "device": device, "threads": settings["threads"]}
    runs["augment_only_"] = augment_only(index, task, **held, cut=whole.media == "frames")
    began = time.perf_counter()
    next(runs[""])
    first_batch_s = time.perf_counter() - began
    measured: dict[str, list[Round]] = {name: [] for name in runs}
    ahead = settings["workers"] // batch_size  # batches that the workers hold
    with closing(whole), closing(decode):
        for _ in range(rounds):
            start = whole.step
            for name, arriving in runs.items():
                measured[name].append(measure(arriving, batches, device=device, ahead=ahead))
            if peers:
                peers.round(start)
        return {
            **figures(measured, batch_size, task),
            "amplification": round(whole.counts.amplification, 2),
            "read_kib_per_clip": read_kib(whole),
            "first_batch_s": round(first_batch_s, 2),
            "decoder": whole.decoder,
            "workers": settings["workers"],
            "tried_workers": tried,
            **(peers.figures(measured[""]) if peers else {"peers": "not measured"}),
        }


def figures(measured: dict[str, list[Round]], batch_size: int, task: Task) -> dict[str, Any]:
    """Return the rates of the whole ("") and of its ceilings, their ratios, and what the whole costs."""
    result: dict[str, Any] = {}
    for name, rounds in measured.items():
        rates = [batch_size * one.rate for one in rounds]
        result[f"{name}clips_per_s"] = round(statistics.median(rates), 1)
        result[f"{name}clips_per_s_quartiles"] = quartiles(rates)
    whole = measured[""]
    for name in ("decode", "augment"):
        shares = [mine.rate / other.rate for mine, other in zip(whole, measured[f"{name}_only_"], strict=True)]
        result[f"{name}_ceiling_share"] = round(statistics.median(shares), 3)
        result[f"{name}_ceiling_share_quartiles"] = quartiles(shares, 3)
    clips = batch_size * sum(len(one.seconds) for one in whole)
    result |= {
        "frames_per_s": round(result["clips_per_s"] * task.program.frames),
        **times_ms(whole),
        "cpu_s_per_1000_clips": round(1000 * sum(one.cpu_s for one in whole) / clips, 1),
    }
    for kind in ("host", "gpu"):
        samples = [getattr(one, f"{kind}_mib") for one in whole]
        if samples[-1]:
            growth = slope(samples)
            result[f"{kind}_memory_mib"] = round(max(mib for each in samples for _, mib in each))
            result[f"{kind}_memory_mib_per_1000_batches"] = None if growth is None else round(growth, 1)
    return result


def read_kib(loader: ClipLoader) -> float:
    """Return the mean KiB that the first clips of the schedule take from the disk; from the index alone."""
    index, order, sizes = loader.index, loader.order, []
    for place in range(READ):
        epoch, step = order.at(place // order.batch_size)
        row = order.row(epoch, step, place % order.batch_size)
        plan = loader.task.plan(index.info(row), generator(order.seed, Stream.SAMPLE, epoch, row))
        sizes.append(read_clip(index, row, plan["frames"]).data.nbytes)
    return round(statistics.fmean(sizes) / 1024, 1)


def measure_processes(
    root: Path, task: str, *, processes: int, batch_size: int, batches: int, rounds: int
) -> dict[str, Any]:
    """Return the rate of one loader process on one core, that of one on each of `processes` cores, and the efficiency.

    Efficiency is the rate of all together / (their number x the rate of the one alone), the median of alternating
    rounds. The processes share memory, its bandwidth, caches and the disk.
    """
    alone, together = [], []
    with ExitStack() as stack:
        pools = [
            stack.enter_context(ProcessPoolExecutor(1, SPAWN, _start_loader, (root, task, batch_size, core)))
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


def _start_loader(root: Path, task: str, batch_size: int, core: int) -> None:
    """Give this process a core and an endless loader of its own."""
    os.sched_setaffinity(0, {core})
    _own.update(size=batch_size)
    _own["batches"] = endless(
        ClipLoader(Index.load(root), default_task(task), batch_size=batch_size, threads=1, seed=core)
    )


def _loader_rate(batches: int) -> float:
    size: int = _own["size"]
    return size * measure(_own["batches"], batches, device="cpu").rate
