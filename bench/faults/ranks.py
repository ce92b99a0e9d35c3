"""Change the number of ranks within one run: are sample order, pixels and losses those of one process?"""

import json
import os
import random
import shutil
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import cycle, islice
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import torch

from bench.data import bench_store
from bench.faults.fork import become_command
from bench.faults.logged.runs import read_log, write_recipe
from bench.faults.row import Row
from bench.faults.same import same
from bench.faults.workers import digest, started_by
from configs.errors import run_cli
from dali_pipelines import worker
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task, ctp
from trainers.commands import pretrain
from trainers.engine import checkpoint
from trainers.engine.work_dir import CHECKPOINTS

GLOBAL_BATCH, STEPS = 24, 6
"""Divisible by all numbers of ranks; steps taken from a loader, which end in mid-epoch."""
PLAN = ctp.Config(num_frames=4, size=32, short_sides=(32,), strides=(1, 2), patches=1)
TASK = Task("ctp", PLAN)
WORLDS, WORKERS = (1, 2, 3, 4, 8), (0, 1, 4)
CHANGES = 100
"""Random changes of ranks and workers at full scale."""
RUN = (1, 3, 2, 8, 1)
"""Ranks of the parts of a run."""
RUN_WORKERS = (0, 1, 2)
"""Workers of each rank in those parts, cyclically."""
EPOCHS, CHECKPOINT_EVERY, HANGS_S = 16, 2, 300
ROUNDING = 1e-3
"""Maximum relative difference of a loss: sums over other numbers of ranks round differently."""


def inject(scale: float, folder: Path) -> Iterator[Row]:
    """Yield rows for a run with changing ranks, for batches by number of ranks and workers, and for random changes."""
    forkserver.set_forkserver_preload([__name__])
    forkserver.ensure_running()
    root = bench_store((folder / "data").resolve(), videos=2 * GLOBAL_BATCH, codec="rawvideo", short_side=64)
    index = Index.load(root)
    yield changing_run(root, folder, RUN[: max(2, round(scale * len(RUN)))])
    with started_by("forkserver"):
        yield each_number(index)
        yield random_changes(index, max(1, round(CHANGES * scale)))


def each_number(index: Index) -> Row:
    """Compare the batches for all numbers of ranks and workers with those of one process without workers."""
    wanted = reference(index, STEPS)
    cases = [(world, workers) for world in WORLDS for workers in WORKERS]
    differ = 0
    for world, workers in cases:
        with ExitStack() as stack:
            found = take(loaders(stack, index, world, workers), STEPS)
        differ += sum(a != b for a, b in zip(found, wanted, strict=True))
    fault = f"order and pixels of {', '.join(map(str, WORLDS))} ranks x {', '.join(map(str, WORKERS))} workers"
    return batches_row(fault, len(cases), differ, STEPS * len(cases))


def random_changes(index: Index, changes: int) -> Row:
    """Change ranks and workers after one or two steps; each part resumes from the state of the previous one."""
    draw = random.Random(0)
    digests: list[bytes] = []
    state: dict[str, int] | None = None
    for _ in range(changes):
        with ExitStack() as stack:
            ranks = loaders(stack, index, draw.choice(WORLDS), draw.choice([0, 0, 1]))
            for rank in ranks:
                if state:
                    rank.load_state_dict(state)
            digests += take(ranks, draw.randint(1, 2))
            state = ranks[0].state_dict()
    differ = sum(a != b for a, b in zip(digests, reference(index, len(digests)), strict=True))
    return batches_row("ranks and workers of a loader changed at random, in mid-epoch", changes, differ, len(digests))


def batches_row(fault: str, injected: int, differ: int, batches: int) -> Row:
    """Return the row of a fault that all ranks survived; `differ` counts the global batches that changed after it."""
    details = {"lost_or_repeated": "global batches that differ", "batches": batches}
    return Row(fault, injected, survived=injected, lost_or_repeated=differ, bits_equal=not differ, details=details)


def loaders(stack: ExitStack, index: Index, world: int, workers: int = 0) -> list[ClipLoader]:
    """Return the loaders of all ranks, in this process."""

    def loader(rank: int) -> ClipLoader:
        size = GLOBAL_BATCH // world
        return ClipLoader(index, TASK, batch_size=size, rank=rank, world_size=world, seed=3, workers=workers, threads=1)

    return [stack.enter_context(closing(loader(rank))) for rank in range(world)]


def take(ranks: Sequence[ClipLoader], steps: int) -> list[bytes]:
    """Return digests of the next global batches: every name, shape and bit."""
    digests: list[bytes] = []
    while len(digests) < steps:
        for parts in islice(zip(*ranks, strict=True), steps - len(digests)):
            digests.append(digest({name: torch.cat([part[name] for part in parts]) for name in parts[0]}))
    return digests


def reference(index: Index, steps: int) -> list[bytes]:
    """Return the digests of one process without workers."""
    with ExitStack() as stack:
        return take(loaders(stack, index, 1), steps)


def changing_run(root: Path, folder: Path, worlds: Sequence[int]) -> Row:
    """Train, changing ranks and workers after each kill of all ranks, and compare with a run of one process.

    A third run makes the same changes without kills or workers: its weights must equal those of the killed run.
    """
    began, draw = time.monotonic(), random.Random(0)
    whole, killed, gentle = (Run(root, folder / name) for name in ("whole", "killed", "gentle"))
    whole.train(1)
    ends, again = [], 0
    for world, workers in zip(worlds[:-1], cycle(RUN_WORKERS), strict=False):
        begun, end = killed.kill(world, workers=workers, draw=draw)
        gentle.train(world, "--max-steps", str(end))
        ends.append(end)
        again += begun - end
    for run in (killed, gentle):
        run.train(worlds[-1])
    losses, wanted = killed.losses(), whole.losses()
    missing = len(wanted.keys() ^ losses.keys()) + sum(len(of) - 1 for of in losses.values())
    apart = max(abs(losses[step][0] / of[0] - 1) for step, of in wanted.items() if step in losses)
    return Row(
        f"ranks {' to '.join(map(str, worlds))} within one run, all killed before each change",
        injected=len(ends),
        survived=len(ends),
        lost_or_repeated=killed.wrong_samples(whole) + gentle.wrong_samples(whole) + missing,
        bits_equal=killed.state_equals(gentle) and apart < ROUNDING,
        details={
            "lost_or_repeated": "samples unlike those of one process, by order and pixels; steps in metrics.jsonl",
            "bits_equal": "weights and moments after the same changes without kills or workers",
            "steps": len(wanted),
            "steps_done_again": again,
            "changed_after_step": ends,
            "workers_when_killed": [*islice(cycle(RUN_WORKERS), len(ends))],
            "loss_apart": float(f"{apart:.1e}"),
            "seconds": round(time.monotonic() - began),
        },
    )


class Run:
    """One run of `bench.faults.logged` in a fresh folder, as one or several parts."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.folder, self.log, self.recipe = folder, folder / "samples.txt", folder / "recipe.yaml"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        train = {"epochs": EPOCHS, "global_batch": GLOBAL_BATCH, "checkpoint_every": CHECKPOINT_EVERY}
        write_recipe(self.recipe, self.log, plan=PLAN, data={"root": str(root)}, train=train, work_dir=str(folder))

    def train(self, world: int, *options: str) -> None:
        """Train to the end with `world` ranks; RuntimeError if one fails."""
        ranks = self.start(world, 0, *options)
        for rank in ranks:
            rank.join(HANGS_S)
            rank.kill()
        if any(rank.exitcode for rank in ranks):
            raise RuntimeError(f"{[rank.exitcode for rank in ranks]}: see {self.folder / 'output.txt'}")

    def kill(self, world: int, *, workers: int, draw: random.Random) -> tuple[int, int]:
        """Kill all ranks in the middle of a step; return its number and that of the last checkpoint."""
        lines = self.log.read_text() if self.log.exists() else ""
        ranks = self.start(world, workers)
        steps, end = draw.randint(3, 6), time.monotonic() + HANGS_S
        while len(dict.fromkeys(line.split()[0] for line in self.new_lines(lines))) < steps:
            if time.monotonic() > end or any(rank.exitcode is not None for rank in ranks):
                raise RuntimeError(f"no step {steps} with {world} ranks: see {self.folder / 'output.txt'}")
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.1))
        for rank in draw.sample(ranks, world):
            rank.kill()
        for rank in ranks:
            rank.join()
        begun = int(self.new_lines(lines)[-1].split()[0])
        return begun, checkpoint.list_steps(self.folder / CHECKPOINTS)[-1]

    def new_lines(self, before: str) -> list[str]:
        """Return the complete lines of the log after `before`."""
        text = self.log.read_text()[len(before) :] if self.log.exists() else ""
        return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def start(self, world: int, workers: int, *options: str) -> list[ForkServerProcess]:
        """Start the ranks as torchrun would, each a fork of a server that has imported everything."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
        size = {"WORLD_SIZE": str(world), "LOCAL_WORLD_SIZE": str(world)}
        argv = ["--config", str(self.recipe), "--device", "cpu", "--set", f"data.workers={workers}", *options]
        ranks = []
        for rank in range(world):
            env = {**address, **size, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            ranks.append(get_context("forkserver").Process(target=be_rank, args=(argv, env, self.folder)))
            ranks[-1].start()
        return ranks

    def losses(self) -> dict[int, list[float]]:
        """Return the losses of each step in metrics.jsonl."""
        found: dict[int, list[float]] = {}
        for line in (self.folder / "metrics.jsonl").read_text().splitlines():
            found.setdefault((of := json.loads(line))["step"], []).append(of["loss"])
        return found

    def wrong_samples(self, whole: "Run") -> int:
        """Count the samples that differ from those of an undisturbed run, and those that no rank had in the end."""
        wanted: dict[int, list[str]] = {}
        for step, _, _, samples in sorted(read_log(whole.log)):  # by rank
            wanted.setdefault(step, []).extend(samples)
        wrong = 0
        had: dict[int, set[int]] = {}
        worlds: dict[int, int] = {}
        for step, rank, world, samples in read_log(self.log):
            size = GLOBAL_BATCH // world
            wrong += sum(a != b for a, b in zip(samples, wanted[step][rank * size : (rank + 1) * size], strict=True))
            if worlds.get(step) != world:
                worlds[step], had[step] = world, set()
            had[step].add(rank)
        absent = (GLOBAL_BATCH * (1 - len(had.get(step, ())) / worlds.get(step, 1)) for step in wanted)
        return wrong + round(sum(absent))

    def state_equals(self, other: "Run") -> bool:
        """Tell whether the last checkpoints have the same weights and moments, bit for bit."""
        mine, theirs = (checkpoint.find(run.folder / CHECKPOINTS, "auto") for run in (self, other))
        assert mine
        assert theirs
        return all(same(mine, theirs, part) for part in ("step", "model", "optimizer"))


def be_rank(argv: list[str], env: dict[str, str], folder: Path) -> None:
    """Become a rank of `clipfeed pretrain`, whose workers are forked too."""
    become_command(["pretrain.py", *argv], folder / "output.txt")
    os.environ |= env
    worker.CONTEXT = get_context("forkserver")
    run_cli(pretrain.main)
