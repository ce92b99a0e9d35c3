"""Measure what one round of a loader costs: seconds of each batch, CPU seconds, memory."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch

WARM_UP = 6
"""Batches before a round's clock starts: those prefetched while another loader ran come too fast. Our loader has two
batches in its pipeline, three for a GPU, and two in its workers, or more if a batch has fewer clips than workers."""
MEMORY_EVERY_S = 0.5  # reading it takes about a millisecond, which counts as part of the batch


@dataclass
class Round:
    """The measurements of one round.

    seconds: of each timed batch. cpu_s: of this process and its children. *_mib: samples of (batch number, MiB).
    """

    seconds: list[float]
    cpu_s: float
    host_mib: list[tuple[int, float]]
    gpu_mib: list[tuple[int, float]]

    @property
    def rate(self) -> float:
        """Batches per second."""
        return len(self.seconds) / sum(self.seconds)


def measure(batches: Iterator[Any], count: int, *, device: str, untimed: int | None = None) -> Round:
    """Time `count` batches, after `untimed` others, by default WARM_UP.

    On a GPU, the time includes synchronizing after each batch.
    """
    for _ in range(WARM_UP if untimed is None else untimed):
        next(batches)
        synchronize(device)
    result = Round([], -cpu_seconds(), [], [])
    sampled = -MEMORY_EVERY_S
    for number in range(count):
        began = time.perf_counter()
        next(batches)
        synchronize(device)
        if began - sampled >= MEMORY_EVERY_S:
            sampled = began
            result.host_mib.append((number, host_mib()))
            if device != "cpu":
                result.gpu_mib.append((number, gpu_mib()))
        result.seconds.append(time.perf_counter() - began)
    result.cpu_s += cpu_seconds()
    return result


def synchronize(device: str) -> None:
    """Wait until the GPU has finished all work."""
    if device != "cpu":
        torch.cuda.synchronize(device)


def _processes() -> list[psutil.Process]:
    """Return this process and its descendants, except the server that forks the peers' workers: it only waits."""
    me = psutil.Process()
    below = me.children(recursive=True)
    return [me, *(p for p in below if not (p.ppid() == me.pid and any("forkserver" in word for word in p.cmdline())))]


def cpu_seconds() -> float:
    """Return the user and system time so far of this process and its present children."""
    return sum(times.user + times.system for times in (process.cpu_times() for process in _processes()))


def host_mib() -> float:
    """Return the resident memory of this process and its children; shared pages count in each."""
    return sum(process.memory_info().rss for process in _processes()) / 2**20


def gpu_mib() -> float:
    """Return the memory in use on the GPU, by all processes."""
    free, total = torch.cuda.mem_get_info()
    return (total - free) / 2**20


def slope(rounds: Sequence[Sequence[tuple[int, float]]]) -> float | None:
    """Return the growth per 1000 batches by least squares, one slope for all rounds; None for too few samples.

    Each round has a level of its own, so what other loaders take between the rounds does not count.
    """
    points = [np.array(samples, float).reshape(-1, 2) for samples in rounds]
    centered = np.concatenate([p - p.mean(axis=0) for p in points if len(p)] or [np.zeros((0, 2))])
    spread = float((centered[:, 0] ** 2).sum())
    return 1000 * float((centered[:, 0] * centered[:, 1]).sum()) / spread if spread else None


def memory(rounds: Sequence[Round]) -> dict[str, float | None]:
    """Return the peak MiB of the host and of a GPU, if any, and their growth per 1000 batches."""
    result: dict[str, float | None] = {}
    for kind in ("host", "gpu"):
        samples = [getattr(one, f"{kind}_mib") for one in rounds]
        if samples[-1]:
            growth = slope(samples)
            result[f"{kind}_memory_mib"] = round(max(mib for each in samples for _, mib in each))
            result[f"{kind}_memory_mib_per_1000_batches"] = None if growth is None else round(growth, 1)
    return result


def times_ms(rounds: Sequence[Round]) -> dict[str, float]:
    """Return percentiles of the milliseconds per batch, over all rounds."""
    values = np.percentile([1000 * s for one in rounds for s in one.seconds], [50, 95, 99])
    return {f"batch_ms_p{p}": round(float(v), 1) for p, v in zip((50, 95, 99), values, strict=True)}


def quartiles(values: Sequence[float], digits: int = 1) -> list[float]:
    """Return the lower and the upper quartile."""
    return [round(float(v), digits) for v in np.percentile(values, [25, 75])]
