"""The loader's and the training bench, each as a user starts it, with settings for a few minutes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.gpu_checks import ROOT, NotHere, Where
from bench.gpu_checks.processes import stop
from bench.gpu_checks.videos import dataset

TASKS = ("ctp", "moco", "recognition")
SECONDS = 110  # for one bench; what it has written until then is kept


def measure(item: str, where: Where) -> dict[str, Any]:
    """The JSON that the bench wrote, and how it ended: one that had to be stopped keeps what it has measured."""
    script, *options = command(item, where)
    if not Path(ROOT, script).is_file():
        raise NotHere(f"there is no {script}")
    codec = "vp9" if item == "training" else item.removeprefix("loader_")
    dataset(codec, where)
    file = where.work_dir / f"{item}.json"
    file.unlink(missing_ok=True)
    options += ["--data-dir", str(where.store(codec)), "--device", where.device, "--json", str(file)]
    process = subprocess.Popen([sys.executable, script, *options], cwd=ROOT)
    try:
        status: int | str = process.wait(SECONDS)
    except subprocess.TimeoutExpired:
        status = f"stopped after {SECONDS} s"
    finally:
        stop(process)
    if not file.is_file():
        raise RuntimeError(f"{script} {' '.join(options)}: status {status}, and it wrote nothing")
    return {
        "ok": status == 0,
        "status": status,
        "command": " ".join([script, *options]),
        **json.loads(file.read_text()),
    }


def command(item: str, where: Where) -> list[str]:
    """The script and its settings."""
    if item == "training":
        tasks = ["ctp"] if where.rehearsal else ["ctp", "moco"]
        steps, rounds, batch = (1, 1, 2) if where.rehearsal else (10, 3, 32)
        settings = f"--steps {steps} --rounds {rounds} --set data.list=null --set train.global_batch={batch}"
        return ["bench/training_throughput.py", *settings.split(), "--tasks", *tasks]
    batch, batches, rounds, threads = (2, 1, 1, 2) if where.rehearsal else (32, 8, 3, 14)
    workers = threads if item == "loader_rawvideo" else 0  # PyAV's part of the work is done there
    settings = f"--batch-size {batch} --batches {batches} --rounds {rounds} --threads {threads} --workers {workers}"
    tasks = ["ctp"] if where.rehearsal else list(TASKS) if item != "loader_vp9" else []
    return ["bench/loader_throughput.py", *settings.split(), *(["--tasks", *tasks] if tasks else [])]
