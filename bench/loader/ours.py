"""Our loader on one store, and its ceilings, as contenders."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from time import perf_counter
from typing import Any

from bench import meters
from bench.loader.ceilings import CutTask, DecodeTask, augment_only
from bench.loader.contenders import OURS, Contender
from bench.meters import Round, measure
from dali_pipelines import limits
from dali_pipelines.inspection.costs import clip_costs
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task
from trainers.engine.loop import endless

TRIED = 24  # batches to try a number of workers: rates of 6 in a row differ by 15 %, of 24 by 5 %
READ = 64  # minimum number of clips whose bytes are counted


def our_contenders(
    index: Index, task: Task, settings: dict[str, Any], *, group: str, stack: ExitStack, augment: bool
) -> tuple[ClipLoader, list[Contender]]:
    """Return our loader, and the contenders: itself, decoding alone, decoding and cutting alone.

    Args:
        settings: of the loader; `workers` None for the number that is fastest in a short try.
        stack: closes the loaders.
        augment: also return the ceiling of augmenting.
    """
    device, tried = settings["device"], {}
    if settings["workers"] is None:
        ways = {workers: settings | {"workers": workers} for workers in worker_counts()}
        tried = {workers: round(loader_rate(index, task, way, TRIED)[0], 1) for workers, way in ways.items()}
        settings = settings | {"workers": max(tried, key=tried.__getitem__)}
    whole, decode, cut = (
        stack.enter_context(closing(ClipLoader(index, its_task, **settings)))
        for its_task in (task, DecodeTask(task.name, task.cfg), CutTask(task.name, task.cfg))
    )

    def run(batches: Iterator[Any]) -> Callable[[int, int], Round]:
        return lambda step, count: measure(batches, count, device=device, untimed=_untimed(settings))

    arriving = endless(whole)
    began = perf_counter()
    next(arriving)
    facts = {
        "first_batch_s": round(perf_counter() - began, 2),
        "read_kib_per_clip": read_kib(whole),
        "decoder": whole.decoder,
        "workers": settings["workers"],
        "tried_workers": tried,
    }
    made = [
        Contender(group, OURS, run(arriving), facts),
        Contender(group, "decode_only", run(endless(decode))),
        Contender(group, "decode_and_cut", run(endless(cut))),
    ]
    if augment:
        held = {name: settings[name] for name in ("batch_size", "device", "threads")}
        batches = augment_only(index, task, **held, cut=whole.media == "frames")
        made.append(Contender(group, "augment_only", run(batches)))
    return whole, made


def _untimed(settings: Mapping[str, Any]) -> int:
    """Return the number of batches before the clock starts: the samples that workers hold fill some more."""
    return int(meters.WARM_UP + settings["workers"] // settings["batch_size"])


def loader_rate(index: Index, task: Task, settings: Mapping[str, Any], batches: int) -> tuple[float, str]:
    """Return clips/s of one round and the decoder; the loader is then closed, so it does not prefetch later."""
    with closing(ClipLoader(index, task, **settings)) as loader:
        rate = measure(endless(loader), batches, device=settings["device"], untimed=_untimed(settings)).rate
        return settings["batch_size"] * rate, loader.decoder


def worker_counts() -> list[int]:
    """Return the worker counts to try: 0, 1, 2, 4 ... and one per core."""
    cores = limits.cores()
    doubled = [2**power for power in range(cores.bit_length()) if 2**power < cores]
    return sorted({0, *doubled, cores})


def read_kib(loader: ClipLoader) -> float:
    """Return the mean KiB per clip read from disk in the first epochs."""
    videos = min(READ, len(loader.index))
    costs = clip_costs(loader.index, loader.task, rows=range(videos), draws=-(-READ // videos), seed=loader.order.seed)
    return round(costs.bytes / 1024, 1)
