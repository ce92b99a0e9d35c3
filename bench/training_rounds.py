"""Time every step of the training loop, the network alone and the loader alone, in alternating rounds."""

import itertools
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import torch

from bench.meters import WARM_UP, synchronize
from bench.report import median_range
from configs.schema import Config
from dali_pipelines.store.index import Index
from trainers.engine.build import build_loader, build_net, build_run
from trainers.engine.distributed import Ranks
from trainers.engine.loop import endless, train_step
from trainers.engine.run import Batch, Run


@contextmanager
def built_run(config: Config, ranks: Ranks, index: Index, *, classes: int = 0) -> Iterator[Run]:
    """Build a recipe's run on a dataset, in training mode; at the end of the block, close its loader.

    classes: of a classifier; without, the recipe is one of a pretext task.
    """
    with closing(build_loader(config, ranks, index)) as loader:
        torch.manual_seed(config.seed)
        run = build_run(config, ranks, loader, build_net(config, classes))
        run.model.train()
        yield run


class Clocked:
    """Time how long the GPU waits for batches, with two CUDA events around each request on the training stream."""

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self.batches, self.gpu = batches, device.type == "cuda"
        self.events: list[tuple[Any, Any]] = []  # of torch.cuda.Event, which has no types

    def __iter__(self) -> "Clocked":
        return self

    def __next__(self) -> Batch:
        if not self.gpu:
            return next(self.batches)
        create: Any = torch.cuda.Event
        requested, ready = create(enable_timing=True), create(enable_timing=True)
        requested.record()  # reached when the previous step's work is done
        batch = next(self.batches)
        ready.record()  # reached when DALI has made the batch, for which this stream waits
        self.events.append((requested, ready))
        return batch

    def take(self) -> float:
        """Return the seconds between the events since the last call; the GPU must have reached all of them."""
        milliseconds: float = sum(requested.elapsed_time(ready) for requested, ready in self.events)
        self.events.clear()
        return milliseconds / 1000


def train_steps(run: Run, batches: Clocked, steps: int, *, settle_s: float) -> np.ndarray:
    """Return float64 (steps, world_size, 3) seconds of every step on every rank: whole, host waiting, GPU waiting.

    At least `WARM_UP` steps and `settle_s` seconds come first, until prefetched batches are used and queues are full.
    """
    middle = run.total_steps // 2  # of the recipe: past its warm-up, and nothing is frozen anymore
    times: list[list[float]] = []
    left, settled = WARM_UP + steps, time.perf_counter() + settle_s
    while left:
        began = time.perf_counter()
        result = train_step(run, batches, middle)
        # The loop of trainers/engine/loop.py gathers as much; on a GPU, this waits for the end of the step.
        late = result.terms["loss"].new_tensor(time.perf_counter() < settled)
        of_all_ranks = run.ranks.gather(torch.stack([*result.terms.values(), late]))
        times.append([time.perf_counter() - began, result.wait, batches.take()])
        if left > steps and of_all_ranks[:, -1].any():  # ranks must agree on when they have settled
            continue
        left -= 1
    return np.array(run.ranks.gather_objects(times[-steps:])).transpose(1, 0, 2)


def load_batches(run: Run, batches: Clocked, steps: int) -> np.ndarray:
    """Return float64 (steps, world_size) seconds to load the batches of a step without training."""
    times = []
    for _ in range(WARM_UP + steps):
        began = time.perf_counter()
        for _ in range(run.config.train.accumulate):
            next(batches)
        synchronize(run.ranks.device.type)
        times.append(time.perf_counter() - began)
    batches.take()
    return np.array(run.ranks.gather_objects(times[-steps:])).T


def measure_rounds(run: Run, *, steps: int, rounds: int) -> dict[str, Any]:
    """Return the slowest rank's milliseconds per step in the three kinds of round, and the ratios of the rounds."""
    device = run.ranks.device
    batches = Clocked(endless(run.loader), device)
    cached = Clocked(itertools.repeat(next(batches)), device)
    whole, alone, fed = [], [], []
    for _ in range(rounds):
        whole.append(train_steps(run, batches, steps, settle_s=0))
        # The loader refills its queue, which takes about as long as some steps of the loop.
        settle_s = WARM_UP * float(np.median(whole[-1][..., 0].max(1)))
        alone.append(train_steps(run, cached, steps, settle_s=settle_s)[..., 0].max(1))
        fed.append(load_batches(run, batches, steps).max(1))
    totals = [part[..., 0].max(1) for part in whole]
    by_rank = np.concatenate(whole).sum(0)  # (world_size, 3)
    figures: dict[str, Any] = {
        "step_ms": percentiles_ms(totals),
        "network_ms": percentiles_ms(alone),
        "loader_ms": percentiles_ms(fed),
        "network_to_step": ratio(alone, totals),
        "bound": bound(ratio(fed, alone)),
        "data_wait": round(float((by_rank[:, 1] / by_rank[:, 0]).max()), 4),
    }
    if device.type == "cuda":
        figures["gpu_data_wait"] = round(float((by_rank[:, 2] / by_rank[:, 0]).max()), 4)
    return figures


def bound(loader_to_network: Mapping[str, float]) -> str:
    """Return which takes longer alone in every round; `either` if the rounds disagree."""
    if loader_to_network["min"] > 1:
        return "loader"
    return "network" if loader_to_network["max"] < 1 else "either"


def ratio(top: list[np.ndarray], bottom: list[np.ndarray]) -> dict[str, float]:
    """Return the median, minimum and maximum of the ratios of the rounds' median times."""
    values = [float(np.median(t) / np.median(b)) for t, b in zip(top, bottom, strict=True)]
    return median_range(values, 3)


def percentiles_ms(rounds: list[np.ndarray]) -> dict[str, float]:
    """Return the quartiles and the 95th percentile over all rounds, in milliseconds."""
    marks = (25, 50, 75, 95)
    values = np.percentile(1000 * np.concatenate(rounds), marks).tolist()
    return {f"p{mark}": round(value, 2) for mark, value in zip(marks, values, strict=True)}
