"""Does loading survive the death of its workers? `python bench/worker_kills.py`.

While batches are loaded, a thread sends SIGKILL to a random worker at a random moment, again and again. Afterwards the
batches are compared with those of the same loader, undisturbed. Heavy imports stand inside functions: each worker
imports this file once more.
"""

import argparse
import hashlib
import json
import random
import statistics
import subprocess
import sys
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.options import require_positive
from configs.errors import run_cli

if TYPE_CHECKING:
    import psutil
    import torch

    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.store.index import Index
    from dali_pipelines.tasks import Task

SETTLE = 6
"""Batches between two kills. More than are ahead, so that no sample is hit twice, which would make it the culprit."""
GAP_S, STEP_S = 0.2, 0.05
"""The most seconds that pass after those before a kill, and that a training step pretends to take."""


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="worker_kills.py", description="Does loading survive dying workers?")
    parser.add_argument("--kills", type=int, default=1000, help="(1000)")
    parser.add_argument("--task", default="rot3d", help="with its default plan (rot3d)")
    parser.add_argument("--data-dir", type=Path, help="a prepared dataset; by default one is made in runs/bench")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (2)")
    parser.add_argument("--busy", type=int, default=0, help="endless loops beside it (0)")
    parser.add_argument("--seed", type=int, default=0, help="of whom to kill and when (0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    args = parser.parse_args(argv)
    require_positive(args, "kills", "workers")
    return args


def main(argv: list[str]) -> int:
    args = parse_args(argv)
    from bench.data import bench_store, default_task
    from bench.machine import save_json
    from dali_pipelines.store.index import Index

    index = Index.load(args.data_dir or bench_store(codec="rawvideo"))
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    try:
        result = measure(index, default_task(args.task), workers=args.workers, kills=args.kills, seed=args.seed)
    finally:
        for loop in loops:
            loop.kill()
    result |= {"task": args.task, "workers": args.workers, "busy": args.busy}
    print(json.dumps(result))
    save_json(args.json, **result)
    return int(bool(result["batches_that_differ"] or result["replaced"]))


def measure(index: "Index", task: "Task", *, workers: int, kills: int, seed: int = 0) -> dict[str, Any]:
    """Return what the kills did to the batches, and the longest times that one took, in seconds."""
    from tqdm import tqdm

    from dali_pipelines.loader import ClipLoader
    from trainers.engine.loop import endless

    def loader() -> "ClipLoader":
        return ClipLoader(index, task, batch_size=4, workers=workers, threads=1)

    killer, pauses, bar = Killer(kills, seed), random.Random(seed + 1), tqdm(total=kills, unit="kill")
    digests, seconds = [], []
    with closing(loader()) as disturbed, bar:
        batches = endless(disturbed)
        digests.append(digest(next(batches)))
        killer.start()
        while killer.is_alive() or killer.delivered < SETTLE:
            began = time.perf_counter()
            digests.append(digest(next(batches)))
            seconds.append(time.perf_counter() - began)
            killer.delivered += 1
            bar.update(killer.kills - bar.n)
            time.sleep(pauses.choice((0, STEP_S)))
        replaced = disturbed.unreadable
    with closing(loader()) as undisturbed:
        differ = sum(a != digest(b) for a, b in zip(digests, endless(undisturbed), strict=False))
    return {
        "kills": killer.kills,
        "batches": len(digests),
        "batches_that_differ": differ,
        "replaced": replaced,
        "median_batch_s": round(statistics.median(seconds), 4),
        "longest_batch_s": round(max(seconds), 2),
        "seconds": round(sum(seconds)),
    }


class Killer(threading.Thread):
    """Kills workers of this process; `delivered` is counted up by whoever takes batches."""

    def __init__(self, kills: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.total, self.kills, self.delivered = kills, 0, 0
        self.random = random.Random(seed)

    def run(self) -> None:
        while self.kills < self.total:
            time.sleep(self.random.uniform(0, GAP_S))
            if self.delivered >= SETTLE and (victims := living_workers()):
                self.delivered = 0
                self.random.choice(victims).kill()
                self.kills += 1


def living_workers() -> list["psutil.Process"]:
    """Return the workers of this process, at work or still starting: spawned, or forked from a server."""
    import psutil

    def is_worker(process: psutil.Process) -> bool:
        with suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline())
            return "spawn_main" in command or ("forkserver" in command and process.ppid() != me.pid)
        return False  # a zombie has no command

    me = psutil.Process()
    return [process for process in me.children(recursive=True) if is_worker(process)]


def digest(batch: dict[str, "torch.Tensor"]) -> bytes:
    """Return a hash of every name, shape and bit of a batch."""
    sha = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(batch.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.contiguous().numpy().tobytes())
    return sha.digest()


if __name__ == "__main__":
    run_cli(main)
