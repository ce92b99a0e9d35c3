"""Kill one of two ranks at random moments, repeatedly, under `torchrun --max-restarts`: does the run continue?"""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from tqdm import tqdm

from bench.faults.kills import HANGS_S, recipe, still_there
from bench.faults.row import Row
from bench.faults.same import compare
from bench.faults.victim import ROOT
from dali_pipelines.progress import bar

KILLS, OF_A_RUN = 20, 5
"""Kills at full scale, and maximum per run."""
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def inject(scale: float, folder: Path) -> Iterator[Row]:
    """Yield a row for MoCo, whose queue is filled by both ranks."""
    path, total, draw = recipe("moco", folder), max(1, round(KILLS * scale)), random.Random(0)
    whole, wrong = folder / "whole", list[str]()
    began = time.monotonic()
    kills = runs = lost = failed = 0
    shutil.rmtree(whole, ignore_errors=True)
    _, status = train(path, whole, [])
    assert not status, f"see {folder / 'output.txt'}"
    seconds = time.monotonic() - began
    progress: tqdm[None] = bar(desc="restarts", total=total)
    while kills < total:
        runs += 1
        wanted = min(OF_A_RUN, total - kills)
        shutil.rmtree(folder / f"run_{runs}", ignore_errors=True)
        done, status = train(path, folder / f"run_{runs}", [draw.uniform(0, seconds) for _ in range(wanted)])
        kills += done
        progress.update(done)
        failed += status != 0
        differences, steps = compare(folder / f"run_{runs}", whole) if not status else ([f"status {status}"], 0)
        wrong += [f"run_{runs}: {difference}" for difference in differences]
        lost += steps
    progress.close()
    yield Row(
        "SIGKILL to one of two ranks at any moment, torchrun --max-restarts",
        injected=kills,
        survived=kills - failed,
        lost_or_repeated=lost,
        bits_equal=not wrong,
        details={"runs": runs, "seconds": round(time.monotonic() - began), "differences": wrong[:5]},
    )


def train(path: Path, work_dir: Path, waits: list[float]) -> tuple[int, int]:
    """Train with two ranks and kill one after each wait, seconds; return the number of kills and the exit status."""
    argv = [*TORCHRUN, f"--max-restarts={len(waits)}", str(ROOT / "trainers" / "pretrain.py"), "--config", str(path)]
    argv += ["--work-dir", str(work_dir), "--device", "cpu"]
    kills, end = 0, time.monotonic() + HANGS_S
    with (path.parent / "output.txt").open("a") as output:
        torchrun = subprocess.Popen(
            argv, stdout=output, stderr=output, start_new_session=True, env=os.environ | {"PYTHONPATH": str(ROOT)}
        )
    for seconds in waits:
        with suppress(subprocess.TimeoutExpired):
            torchrun.wait(seconds)
            break
        kills += kill_a_rank(torchrun.pid)
        end = time.monotonic() + HANGS_S
    try:
        status = torchrun.wait(end - time.monotonic())
    except subprocess.TimeoutExpired:
        os.killpg(torchrun.pid, signal.SIGKILL)
        status = 124
    return kills, status or still_there({torchrun.pid})


def kill_a_rank(torchrun: int) -> bool:
    """Kill a random rank; tell whether there was one."""
    with suppress(psutil.NoSuchProcess, IndexError):
        ranks = [each for each in psutil.Process(torchrun).children() if "pretrain.py" in " ".join(each.cmdline())]
        random.choice(ranks).kill()
        return True
    return False
