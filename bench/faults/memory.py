"""Measure the memory of a loader with workers, and train with very little shared memory."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from bench.data import bench_store
from bench.faults.ranks import GLOBAL_BATCH, Run
from bench.faults.restarts import TORCHRUN
from bench.faults.row import Row
from bench.faults.soak import POINTS, memory_row, usage
from bench.faults.workers import BATCH, TASK, WORKERS
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from trainers.engine.loop import endless

BATCHES = 2000
STEPS = 6
SMALL_SHM = 64
"""MB of /dev/shm in a container by default."""
MOUNTED = 'mount -t tmpfs -o "size=$0" tmpfs /dev/shm && exec "$@"'


def inject(scale: float, folder: Path) -> Iterator[Row]:
    """Yield a row for the memory of a loader, and if mounting is allowed, one for a run with a small /dev/shm."""
    root = bench_store((folder / "data").resolve(), videos=2 * GLOBAL_BATCH, codec="rawvideo", short_side=64)
    yield loader_memory(Index.load(root), max(40, round(BATCHES * scale)))
    if can_mount():
        yield small_shared_memory(root, folder)


def loader_memory(index: Index, batches: int) -> Row:
    """Take batches from a loader with workers, and fit a line to the memory of all its processes."""
    samples = []
    with closing(ClipLoader(index, TASK, batch_size=BATCH, workers=WORKERS, threads=1)) as loader:
        for number, _ in enumerate(islice(endless(loader), batches), 1):
            if not number % max(1, batches // POINTS):
                samples.append((number, *usage(os.getpid())))
    what = f"{batches} batches of a loader with {WORKERS} workers"
    return memory_row(what, "batches", samples, rate=("1000_batches", 1000))


def can_mount() -> bool:
    """Tell whether this user may mount in a new namespace."""
    return not subprocess.run(mounted(["true"]), capture_output=True, check=False).returncode


def mounted(command: list[str]) -> list[str]:
    """Return the command with a small /dev/shm of its own."""
    return ["unshare", "--map-root-user", "--mount", "sh", "-c", MOUNTED, f"{SMALL_SHM}m", *command]


def small_shared_memory(root: Path, folder: Path) -> Row:
    """Train with two ranks of two workers each; compare samples and weights with those of a run with ample /dev/shm."""
    small, plenty = (Run(root, folder / name) for name in ("small", "plenty"))
    statuses = []
    for run in (small, plenty):
        options = ["--config", str(run.recipe), "--device", "cpu", "--max-steps", str(STEPS), "--set", "data.workers=2"]
        command = [*TORCHRUN, "trainers/pretrain.py", *options]
        with (run.folder / "output.txt").open("w") as output:
            done = subprocess.run(
                mounted(command) if run is small else command, stdout=output, stderr=output, check=False
            )
        statuses.append(done.returncode)
    return Row(
        f"{SMALL_SHM} MB of /dev/shm for two ranks with two workers each",
        injected=1,
        survived=int(statuses == [0, 0]),
        lost_or_repeated=small.wrong_samples(plenty),
        bits_equal=small.state_equals(plenty),
        details={"lost_or_repeated": "samples", "steps": STEPS, "exit_statuses": statuses},
    )
