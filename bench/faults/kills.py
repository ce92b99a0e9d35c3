"""Kill runs at random moments, repeatedly until they end, and compare their bits with those of an undisturbed run.

`tests/faults/test_phases.py` kills them at moments of microseconds, such as the renaming of a checkpoint.
"""

import os
import random
import shutil
import signal
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
import yaml
from tqdm import tqdm

from bench.data import bench_store
from bench.faults.fork import start
from bench.faults.row import Row
from bench.faults.same import compare
from dali_pipelines.progress import bar

KILLS, HANGS_S, LEAVES_S = 200, 300, 20
"""Kills per task at full scale, and seconds after which a run counts as hanging, or a worker as outliving its run."""
WORKERS, ALONE = 0.1, 0.5
"""Shares of starts: with 1 or 2 workers, killed without its workers."""
ROOT = Path(__file__).parents[2]

SMALL = {"num_frames": 8, "size": 32}
TRAIN = {"epochs": 3, "global_batch": 4, "checkpoint_every": 2, "log_every": 1, "loggers": ["tensorboard", "csv"]}
COMMON = {
    "backbone": "r3d_tiny",
    "optim": {"name": "adamw", "lr": 3e-3},
    "schedule": {"kind": "constant"},
    "train": TRAIN,
}
RECIPES: dict[str, tuple[str, dict[str, Any]]] = {
    "moco": ("MoCo's queue", {"plan": SMALL | {"short_sides": [32, 40]}, "net": {"queue": 16}}),
    "cstp": ("BYOL's target", {"plan": SMALL, "net": {"projector": 32, "predictor": 32}}),
    "concepts": ("Concepts' queues", {"plan": SMALL, "net": {"concepts": 16, "queue_size": 8, "local_from": 1}}),
    "recognition": (
        "plateaus and the best checkpoint",
        {
            "seed": 3,  # lowers its rate three times, and has its best in the middle
            "plan": SMALL | {"short_sides": [32, 40]},
            "net": {"dropout": 0.5},
            "schedule": {"kind": "plateau", "patience": 0, "gamma": 0.5},
            "validation": {"every": 1, "share": 0.4},
            "train": TRAIN | {"epochs": 5},
        },
    ),
}
"""Task -> its state besides the weights, and its recipe."""


def inject(scale: float, folder: Path, *, task: str) -> Row:
    """Return the row of a task with state besides its weights."""
    program = ["finetune", "--mode", "scratch"] if task == "recognition" else ["pretrain"]
    argv = [str(ROOT / "trainers" / f"{program[0]}.py"), *program[1:], "--config", str(recipe(task, folder))]
    killer = Killer(folder, [*argv, "--device", "cpu"])
    return killer.row(f"SIGKILL at any moment: {RECIPES[task][0]}", max(1, round(KILLS * scale)))


def recipe(task: str, folder: Path) -> Path:
    """Write a task's recipe, and a small dataset with classes, into a folder."""
    root = bench_store((folder / "data").resolve(), videos=20, codec="rawvideo", short_side=64)
    (root / "labels.csv").write_text("".join(f"video{number:03d},{number % 2}\n" for number in range(20)))
    data = {"root": str(root), "list": "labels.csv", "workers": 0, "threads": 1}
    path = folder / "recipe.yaml"
    tree = COMMON | {"task": task, "work_dir": str(folder / "whole"), "data": data} | RECIPES[task][1]
    path.write_text(yaml.safe_dump(tree))
    return path


@dataclass
class Killer:
    """Kill runs of one recipe, and compare their results with those of an undisturbed run."""

    place: Path
    argv: list[str]
    hits: int = 0
    """Kills of runs that had not ended before."""
    sessions: set[int] = field(default_factory=set)
    """Processes of the present run."""
    wrong: list[str] = field(default_factory=list)
    """Differences."""
    failed: int = 0
    """Starts after a kill that ended with an error, or hung."""
    outlived: int = 0
    """Processes of a run that still existed long after it was killed."""

    def __post_init__(self) -> None:
        self.draw, self.output = random.Random(0), self.place / "output.txt"

    def row(self, fault: str, kills: int) -> Row:
        """Kill runs, each repeatedly until it ends, until there were `kills` kills in total."""
        began, whole = time.monotonic(), self.place / "whole"
        shutil.rmtree(whole, ignore_errors=True)
        process, started = self.start(whole), time.monotonic()  # after the imports of the server
        assert not self.wait(process), f"see {self.output}"
        self.seconds = time.monotonic() - started
        runs = lost = 0
        progress: tqdm[None] = bar(desc=fault, total=kills)
        while self.hits < kills:
            runs += 1
            work_dir = self.place / f"run_{runs}"
            shutil.rmtree(work_dir, ignore_errors=True)
            if self.run(work_dir, kills):
                differences, steps = compare(work_dir, whole)
                lost += steps
                self.wrong += [f"{work_dir.name}: {difference}" for difference in differences]
                if not differences:
                    shutil.rmtree(work_dir)
            progress.update(self.hits - progress.n)
        progress.close()
        return Row(
            fault,
            injected=self.hits,
            survived=self.hits - self.failed - self.outlived,
            lost_or_repeated=lost,
            bits_equal=not self.wrong,
            details={
                "runs": runs,
                "seconds": round(time.monotonic() - began),
                "differences": self.wrong[:5],
            },
        )

    def run(self, work_dir: Path, kills: int) -> bool:
        """Start a run, and restart it after each kill, until it ends; tell whether it succeeded."""
        self.sessions.clear()
        status = -signal.SIGKILL
        while status == -signal.SIGKILL:
            enough = self.hits >= kills
            status = self.wait(self.start(work_dir)) if enough else self.start_and_kill(work_dir)
        self.outlived += still_there(self.sessions)
        if status:
            self.failed += 1
            self.wrong.append(f"{work_dir.name} ended with {status}, see {self.output}")
        return status == 0

    def start_and_kill(self, work_dir: Path) -> int:
        """Start a process and kill it, unless it ends before; return its exit status."""
        workers = self.draw.choice([1, 2]) if self.draw.random() < WORKERS else 0
        process = self.start(work_dir, workers=workers)
        process.join(self.draw.uniform(0, self.seconds))
        kill(process, alone=self.draw.random() < ALONE)
        self.hits += process.exitcode == -signal.SIGKILL
        return process.exitcode or 0

    def start(self, work_dir: Path, *, workers: int = 0) -> ForkServerProcess:
        """Start the command in a work dir."""
        argv = [*self.argv, "--work-dir", str(work_dir), "--set", f"data.workers={workers}"]
        process = start(argv, self.output)
        assert process.pid
        self.sessions.add(process.pid)
        return process

    def wait(self, process: ForkServerProcess) -> int:
        """Wait for a process without killing it; return its exit status, 124 if it hangs."""
        process.join(HANGS_S)
        if process.exitcode is not None:
            return process.exitcode
        self.wrong.append(f"hangs, see {self.output}")
        kill(process, alone=False)
        return 124


def kill(process: ForkServerProcess, *, alone: bool) -> None:
    """Kill the leader of a session, alone or with its whole process group, and wait for its end."""
    assert process.pid
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
        if not alone:
            os.killpg(process.pid, signal.SIGKILL)
    process.join()


def still_there(sessions: Collection[int]) -> int:
    """Return the number of processes of these sessions that have not ended by themselves in time."""
    end = time.monotonic() + LEAVES_S
    while True:
        left = 0
        for process in psutil.process_iter():
            with suppress(ProcessLookupError, psutil.NoSuchProcess):
                left += os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.2)
