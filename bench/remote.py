"""How fast do clips arrive over a network, and what does reading ahead hide? `python bench/remote.py`.

A web server on this machine waits before each answer. Rounds of the same clips from it and from the disk alternate,
with read-ahead and without. The server runs in its own process and uses its share of the cores.
Heavy imports are inside functions: each worker of the loader imports this file once more.
"""

import argparse
import multiprocessing
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from bench.file_server import served
from bench.options import add_rounds, require_positive
from configs.errors import run_cli

if TYPE_CHECKING:
    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.store.index import Index
    from dali_pipelines.tasks import Task

WAYS = {"disk": False, "disk, ahead": True, "URL": False, "URL, ahead": True}
"""Where the bytes are, and whether they are read ahead."""


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="remote.py", description="How fast clips arrive over a network.")
    parser.add_argument("--data-dir", type=Path, help="a prepared dataset; by default one is made in runs/bench")
    parser.add_argument("--task", default="recognition", help="whose clips are timed (recognition)")
    parser.add_argument("--delay-ms", type=float, default=50.0, help="wait of the server before each answer (50)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes; 0 is none (2)")
    add_rounds(parser, batches=12, rounds=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(argv)
    require_positive(args, "batch_size", "batches", "rounds")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    from bench import meters
    from bench.data import bench_store, default_task
    from bench.machine import save_json
    from bench.meters import measure
    from bench.report import lead, markdown, median_range
    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.store.index import Index
    from trainers.engine.loop import endless

    root, task = args.data_dir or bench_store(), default_task(args.task)
    settings = {"batch_size": args.batch_size, "workers": args.workers, "threads": 1, "decoder": "pyav"}
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    with serving(root, args.delay_ms / 1000) as url, ExitStack() as stack:
        runs = {}
        for way, reads_ahead in WAYS.items():
            loader = ClipLoader(Index.load(url if way.startswith("URL") else root), task, **settings)
            runs[way] = endless(stack.enter_context(closing(loader)))
            start(loader, runs[way], ahead=reads_ahead)
        for _ in range(args.rounds):
            for way, batches in runs.items():
                untimed = meters.WARM_UP + 8 * args.workers // args.batch_size
                rates[way].append(args.batch_size * measure(batches, args.batches, device="cpu", untimed=untimed).rate)
    figures: dict[str, dict[str, Any]] = {
        way: {"clips_per_s": median_range(rates[way]), "of_disk": round(lead(rates, way, "disk"), 2)} for way in WAYS
    }
    costs = clip_costs(Index.load(root), task)
    save_json(args.json, costs=costs, settings=settings | {"task": args.task, "delay_ms": args.delay_ms}, ways=figures)
    rows = [(way, *of["clips_per_s"].values(), of["of_disk"]) for way, of in figures.items()]
    print(f"a clip is {costs['requests']} requests and {costs['kb']} kB")
    print("\n".join(markdown(("from", "clips/s", "least", "most", "of the disk's"), rows)))


def start(loader: "ClipLoader", batches: Iterator[Any], *, ahead: bool) -> None:
    """Take the first batch of a loader, with or without read-ahead."""
    with patch("dali_pipelines.feed.is_remote", lambda index: ahead):
        next(batches)


def clip_costs(index: "Index", task: "Task") -> dict[str, float]:
    """Return the mean requests and bytes / 1000 per clip, from the index and one plan per video."""
    from dali_pipelines.plan.order import Order
    from dali_pipelines.samples import SampleSource
    from dali_pipelines.store.remote import blocks_of

    source = SampleSource(index, task, Order(len(index), 1, 0, 1, 0, shuffle=True), media="encoded")
    clips = [list(blocks_of(source.draft(0, row).clip.spans)) for row in range(len(index))]
    sizes = [sum(block[-1].end - block[0].start for block in blocks) for blocks in clips]
    return {"requests": round(statistics.fmean(map(len, clips)), 1), "kb": round(statistics.fmean(sizes) / 1000, 1)}


@contextmanager
def serving(root: Path, delay: float) -> Iterator[str]:
    """Serve a folder from a separate process during the block; yield its URL."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(root, delay, theirs), daemon=True)
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _serve(root: Path, delay: float, pipe: Connection) -> None:
    with served(root) as files:
        files.delay = delay
        pipe.send(files.url)
        pipe.recv()


if __name__ == "__main__":
    run_cli(main)
