"""Measure how fast the loader delivers the batches of each task from the chosen store, on this device."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from itertools import cycle
from typing import Any

import torch
from torch import Tensor

from bench.data import default_task
from bench.gpu_checks import Target
from bench.gpu_checks.pipelines import alternate, video_pipeline
from bench.gpu_checks.videos import chosen_store
from configs.words import counted
from dali_pipelines.loader import ClipLoader
from trainers.engine.loop import endless

HELD = 4  # batches that decoding alone repeats
DROPPED, BUSY = 12, 5  # batches; matrix products before each is read, some 100 ms
THREADS, WORKERS, BATCH = 14, 8, 32
TURN_S = 0.7


def measure(item: str, target: Target) -> dict[str, Any]:
    """Measure a task next to its decoding alone, or run an item that has its own function."""
    own = {"threads": threads, "dropped": dropped}
    return own[item](target) if item in own else one_task(item, target)


def loader_of(name: str, target: Target, *, threads: int = THREADS, workers: int = WORKERS) -> ClipLoader:
    """Return the loader of a task with its default plan; in a rehearsal, a small one."""
    batch, threads, workers = (2, 2, 0) if target.rehearsal else (BATCH, threads, workers)
    task, index = default_task(name), chosen_store(target)[1]
    return ClipLoader(index, task, batch_size=batch, threads=threads, workers=workers, device=target.device)


def decoding_alone(loader: ClipLoader, target: Target) -> Any:
    """Return a pipeline that decodes the loader's first batches repeatedly; None if DALI does not decode."""
    if loader.decoder == "pyav":
        return None
    source, size = loader.source, loader.order.batch_size
    media, frames = (source.names.index(name) for name in ("media", "frames"))
    held = []
    for step in range(1 if target.rehearsal else HELD):
        samples = [source.sample(source.position(step, slot)) for slot in range(size)]
        held.append(([sample[media] for sample in samples], [sample[frames] for sample in samples]))
    batches: Iterator[Any] = cycle(held)
    return video_pipeline(lambda iteration: next(batches), target, batch_size=size, threads=loader.threads)


def one_task(name: str, target: Target) -> dict[str, Any]:
    """Measure clips/s, delivered frames/s and the share of the rate of decoding alone."""
    with closing(loader_of(name, target)) as loader:
        batches = endless(loader)
        began = time.perf_counter()
        next(batches)
        first_batch_s = time.perf_counter() - began
        alone = decoding_alone(loader, target)
        runs = {"decoding alone": alone.run} if alone else {}
        size, length = loader.order.batch_size, loader.task.program.frames
        rows = alternate({**runs, "loader": partial(next, batches)}, target, batch_size=size, seconds=TURN_S)
        replaced = dict(loader.unreadable)
    rate, share = rows["loader"]["clips_per_s"], rows["loader"]["ratio"]
    of_what = f"{100 * share:.0f} % of decoding alone" if alone else "PyAV decodes"
    answer = f"{rate:,.0f} clips/s, {rate * length:,.0f} frames/s, {of_what}; first batch after {first_batch_s:.1f} s"
    if replaced:
        answer += f"; {counted(len(replaced), 'video')} unreadable: {next(iter(replaced.values()))}"
    return {
        "ok": not replaced,
        "answer": answer,
        "store": chosen_store(target)[0],
        "threads": loader.threads,
        "workers": loader.workers,
        "frames_per_s": round(rate * length),
        "rows": rows,
    }


def threads(target: Target) -> dict[str, Any]:
    """Measure `ctp` by the decoder's threads, and without workers."""
    settings = {"7 threads": (7, WORKERS), "14 threads": (14, WORKERS), "14 threads, no workers": (14, 0)}
    with ExitStack() as stack:
        loaders = {
            name: stack.enter_context(closing(loader_of("ctp", target, threads=count, workers=workers)))
            for name, (count, workers) in settings.items()
        }
        size = loaders["7 threads"].order.batch_size
        runs = {name: partial(next, endless(loader)) for name, loader in loaders.items()}
        rows = alternate(runs, target, batch_size=size)
    texts = [f"{row['clips_per_s']:,.0f} with {name}" for name, row in rows.items()]
    return {"answer": f"ctp, clips/s: {', '.join(texts)}", "rows": rows}


def dropped(target: Target) -> dict[str, Any]:
    """Check that DALI does not reuse the memory of a dropped batch that the GPU has yet to read.

    Sum batches, first synchronously, then queued after other work, so the GPU sums them later.
    """
    count = 2 if target.rehearsal else DROPPED
    side = 64 if target.rehearsal else 8192
    busy = torch.ones(side, side, device=target.device)
    sums: list[list[Tensor]] = []
    for waits in (True, False):
        with closing(loader_of("recognition", target, workers=0)) as loader:  # workers take seconds to start
            batches, found = endless(loader), []
            for _ in range(count):
                clips = next(batches)["clips"]
                for _ in range(0 if waits else BUSY):
                    torch.mm(busy, busy)
                found.append(clips.double().sum())
                if waits:
                    found[-1].item()
                del clips
            sums.append([value.cpu() for value in found])
    same = sum(torch.equal(*pair) for pair in zip(*sums, strict=True))
    return {"ok": same == count, "answer": f"{same} of {count} batches were read as they were, though dropped before"}
