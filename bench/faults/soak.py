"""Train for two hours with workers, checkpoints and loggers: does memory stay flat?"""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import yaml
from tqdm import tqdm

from bench.data import bench_store
from bench.faults.row import Row
from dali_pipelines.progress import bar
from trainers.engine.checkpoint import list_steps

SECONDS, EVERY_S = 7200, 10
WARM_UP, MAX_GROWTH = 0.1, 0.02
"""Share of the time to ignore while caches fill; and share of the memory that it may grow by afterwards."""
POINTS = 120
"""Points of a curve."""

RECIPE = {
    "task": "ctp",
    "backbone": "r3d_tiny",
    "plan": {"num_frames": 16, "size": 112, "short_sides": [128], "strides": [1, 2]},
    "net": {"hidden": 64},
    "train": {
        "epochs": 10**6,
        "global_batch": 8,
        "checkpoint_every": 50,
        "keep": 2,
        "log_every": 10,
        "loggers": ["tensorboard", "csv"],
    },
}


def inject(scale: float, folder: Path) -> Iterator[Row]:
    """Train for two hours, and yield a row with the memory of all processes, their files and shared memory."""
    data = {"root": str(bench_store()), "workers": 2, "threads": 1}
    recipe = folder / "soak.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE | {"work_dir": str(folder / "run"), "data": data}))
    command = [sys.executable, "trainers/pretrain.py", "--config", str(recipe), "--device", "cpu"]
    samples = []
    with (folder / "output.txt").open("a") as output:
        run = subprocess.Popen(command, stdout=output, stderr=output)
        try:
            began = time.monotonic()
            progress: tqdm[None] = bar(desc="soak", total=int(SECONDS * scale))
            while (passed := time.monotonic() - began) < SECONDS * scale and run.poll() is None:
                time.sleep(min(EVERY_S, SECONDS * scale / 20))
                samples.append((time.monotonic() - began, *usage(run.pid)))
                progress.update(int(time.monotonic() - began) - int(passed))
            progress.close()
            alive = run.poll() is None
            run.send_signal(signal.SIGTERM)
            status = run.wait(120)
        finally:
            run.kill()
    found = memory_row(f"{samples[-1][0] / 3600:.2g} hours of training", "seconds", samples, rate=("hour", 3600))
    steps = list_steps(folder / "run" / "checkpoints")[-1]
    ended = alive and status == 128 + signal.SIGTERM
    details = {"steps": steps, "exit_status": status, **found.details}
    yield replace(found, survived=int(ended and found.survived), details=details)


def memory_row(what: str, axis: str, samples: Sequence[Sequence[float]], *, rate: tuple[str, int]) -> Row:
    """Return a row that passes if memory stays flat.

    Args:
        what: was done.
        axis: the unit of the samples' first column; the other columns are those of `usage`.
        rate: the interval for which growth is reported: its name, and its length in that unit.
    """
    at, memory, files, processes = np.asarray(samples, float).T
    growth, slope = fit(at, memory)
    shown = np.linspace(0, len(samples) - 1, min(len(samples), POINTS)).astype(int)
    return Row(
        f"{what}, memory flat to {MAX_GROWTH:.0%}",
        injected=1,
        survived=int(abs(growth) < MAX_GROWTH),
        lost_or_repeated=0,
        bits_equal=None,
        details={
            "growth": round(growth, 4),
            f"mib_per_{rate[0]}": round(slope * rate[1], 2),
            "most_files": int(files.max()),
            "curve": [[round(at[i]), round(memory[i], 1), int(files[i]), int(processes[i])] for i in shown],
            "curve_of": [axis, "MiB of all processes, without files", "open files", "processes"],
        },
    )


def fit(at: np.ndarray, memory: np.ndarray) -> tuple[float, float]:
    """Fit a line to memory over time, (N,) each; return its relative growth after the warm-up, and its slope."""
    late = at > WARM_UP * at[-1]
    slope, _ = np.polyfit(at[late], memory[late], 1)
    return float(slope * (at[-1] - at[late][0]) / np.median(memory[late])), float(slope)


def usage(pid: int) -> tuple[float, int, int]:
    """Return a run's memory in MiB, and its numbers of open files and of processes.

    A page that several processes share counts once. Pages of files, such as torch's libraries, do not count: a
    process's share of them depends on who else on the machine has them open.
    """
    kib = files = processes = 0
    with suppress(psutil.NoSuchProcess):
        for process in (run := psutil.Process(pid), *run.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied, OSError):
                lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()[1:]
                facts = {name: int(size.split()[0]) for name, size in (line.split(":") for line in lines)}
                kib += sum(facts[name] for name in ("Pss_Anon", "Pss_Shmem", "SwapPss"))
                files += process.num_fds()
                processes += 1
    return kib / 2**10, files, processes
