"""Do loaders hinder each other? One loader process on one core, and one on each core: `python bench/loader_scaling.py`.

Efficiency is the rate of all processes together / (their number x the rate of the one that is alone). What they share
is memory, its bandwidth, caches and the disk.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from configs.errors import UserError, run_cli

BATCH_SIZE = 8


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="loader_scaling.py", description="One loader process, and one a core.")
    parser.add_argument("--data-dir", type=Path, help="a prepared dataset; by default one is made")
    parser.add_argument("--task", default="recognition", help="with its default plan (recognition)")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="one a core, at least 2 (all cores)")
    parser.add_argument("--seconds", type=float, default=5, help="that a round takes at least (5)")
    parser.add_argument("--rounds", type=int, default=5, help="one process and all of them take turns so often (5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(argv)
    if not 2 <= args.processes <= (os.cpu_count() or 1):
        raise UserError(f"--processes {args.processes}: from 2 to the {os.cpu_count()} cores of this machine")
    if args.rounds < 1 or args.seconds <= 0:
        raise UserError(f"--rounds {args.rounds} --seconds {args.seconds}: more than 0")
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    from bench.data import bench_store
    from bench.machine import machine
    from bench.meters import spread
    from dali_pipelines.store.files import replacing

    root = args.data_dir or bench_store()
    with loaders(args.processes, root, args.task) as processes:
        turns = []
        for _ in range(args.rounds):
            (alone,) = rates(processes[:1], args.seconds)
            turns.append((alone, sum(rates(processes, args.seconds))))
    shares = [together / (alone * args.processes) for alone, together in turns]
    result = {
        "task": args.task,
        "processes": args.processes,
        "one_clips_per_s": round(statistics.median(alone for alone, _ in turns), 1),
        "all_clips_per_s": round(statistics.median(together for _, together in turns), 1),
        "efficiency": round(statistics.median(shares), 3),
        "efficiency_quartiles": spread(shares, 3),
    }
    print(json.dumps(result, indent=1))
    if args.json:
        with replacing(args.json) as part:
            part.write_text(json.dumps({"machine": machine(), "data": str(root), **result}, indent=1) + "\n")


@contextmanager
def loaders(count: int, root: Path, task: str) -> Iterator[list[Connection]]:
    """Processes with a loader each, every one on a core of its own; they work while somebody asks for a rate."""
    context = multiprocessing.get_context("spawn")
    pipes = [context.Pipe() for _ in range(count)]
    cores = sorted(os.sched_getaffinity(0))
    processes = [
        context.Process(target=_serve, args=(there, root, task, cores[number % len(cores)]), daemon=True)
        for number, (_, there) in enumerate(pipes)
    ]
    for process, (_, there) in zip(processes, pipes, strict=True):
        process.start()
        there.close()  # so that a process that dies ends the conversation
    try:
        yield [here for here, _ in pipes]
    finally:
        for process in processes:
            process.terminate()
            process.join()


def rates(processes: list[Connection], seconds: float) -> list[float]:
    """Clips/s of each of some processes that run at the same time."""
    for process in processes:
        process.send(seconds)
    return [float(process.recv()) for process in processes]


def _serve(commands: Connection, root: Path, task: str, core: int) -> None:
    os.sched_setaffinity(0, {core})
    from bench.meters import WARM_UP
    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.store.index import Index
    from dali_pipelines.tasks import Task, task_module
    from trainers.engine.loop import endless

    settings: Any = task_module(task).Config()
    loader = ClipLoader(Index.load(root), Task(task, settings), batch_size=BATCH_SIZE, threads=1, seed=core)
    batches = endless(loader)
    while True:
        seconds = commands.recv()
        for _ in range(WARM_UP):
            next(batches)
        began, count = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            next(batches)
            count += 1
        commands.send(count * BATCH_SIZE / (time.perf_counter() - began))


if __name__ == "__main__":
    run_cli(main)
