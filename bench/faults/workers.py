"""Kill random workers of a loader at random moments, a thousand times: are its batches the same bit for bit?"""

import hashlib
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from unittest import mock

import torch
from tqdm import tqdm

from bench.data import bench_store
from bench.faults.killer import SETTLE, Killer
from bench.faults.row import Row
from dali_pipelines import worker
from dali_pipelines.loader import ClipLoader
from dali_pipelines.progress import bar
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, rot3d
from trainers.engine.loop import endless

KILLS = 1000  # at full scale: nine minutes
STEP_S = 0.05  # longest simulated training step
BATCH, WORKERS = 4, 2
TASK = Task("rot3d", rot3d.Config(num_frames=8, size=64))


def inject(scale: float, folder: Path, fault: str = "SIGKILL to a random worker of a loader") -> Row:
    """Return the row of a loader with workers."""
    index = Index.load(bench_store((folder / "data").resolve(), codec="rawvideo", short_side=128))
    return kill_workers(fault, index, max(1, round(KILLS * scale)))


def inject_busy(scale: float, folder: Path) -> Row:
    """Return the row of the same on a machine with two busy loops."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        return inject(scale, folder, "SIGKILL to a random worker of a loader, beside two busy loops")
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def kill_workers(fault: str, index: Index, kills: int) -> Row:
    """Kill workers while batches arrive, and compare these with the batches of a loader without workers."""
    killer, pauses = Killer(seed=0), random.Random(1)
    progress: tqdm[None] = bar(desc=fault, total=kills)
    seconds: list[float] = []
    with ExitStack() as stack:
        stack.enter_context(forked_workers())
        stack.enter_context(progress)
        disturbed, undisturbed = (
            stack.enter_context(closing(ClipLoader(index, TASK, batch_size=BATCH, workers=workers, threads=1)))
            for workers in (WORKERS, 0)
        )
        batches, wanted = endless(disturbed), endless(undisturbed)
        digests = [digest(next(batches))]
        killer.begin(kills)
        while killer.at_work or killer.delivered < SETTLE:
            began = time.perf_counter()
            digests.append(digest(next(batches)))
            seconds.append(time.perf_counter() - began)
            killer.delivered += 1
            progress.update(killer.kills - progress.n)
            time.sleep(pauses.choice((0, STEP_S)))
        differ = sum(ours != digest(next(wanted)) for ours in digests)
        replaced = len(disturbed.unreadable)
    median = statistics.median(seconds)
    return Row(
        fault,
        injected=killer.kills,
        survived=killer.kills,  # else there would be no batches and no row
        lost_or_repeated=differ + replaced,
        bits_equal=not differ,
        details={
            "lost_or_repeated": "batches that differ, and videos that were replaced",
            "batches": len(digests),
            "workers": f"{WORKERS}, forked from a server",
            "s_per_kill": round((sum(seconds) - median * len(seconds)) / killer.kills, 3),
            "seconds": round(sum(seconds)),
            "load_average": round(os.getloadavg()[2], 1),  # of a quarter of an hour
        },
    )


@contextmanager
def forked_workers() -> Iterator[None]:
    """Make pools fork workers from a server that preloads all imports: spawned ones take seconds to start."""
    multiprocessing.set_forkserver_preload(["dali_pipelines.samples", "dali_pipelines.worker"])
    with mock.patch.object(worker, "CONTEXT", multiprocessing.get_context("forkserver")):
        yield


def digest(batch: dict[str, torch.Tensor]) -> bytes:
    """Return a hash of every name, shape and bit of a batch."""
    sha = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(batch.items()):
        sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        sha.update(tensor.contiguous().numpy().tobytes())
    return sha.digest()
