"""Describe the machine and the versions that a figure belongs to."""

import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import torch

from dali_pipelines import kernels
from dali_pipelines.store.files import write_json
from trainers.diagnosis.packages import installed

PACKAGES = ("torch", "torchvision", "nvidia-dali-cuda130", "av", "numpy")
PEERS = ("torchcodec", "decord", "opencv-python", "opencv-python-headless")


def machine() -> dict[str, object]:
    """Return the processor, memory, GPU, versions, commit and date (UTC) that a figure belongs to."""
    return {
        "cpu": _cpu_name(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "compiled_pixels": kernels.NATIVE is not None,
        "versions": {name: found for name in (*PACKAGES, *PEERS) if (found := installed(name))},
        "commit": _commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def save_json(path: Path | None, **figures: Any) -> None:
    """Write figures with the machine they came from; do nothing without a path."""
    if path:
        write_json(path, {"machine": machine(), **figures})


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _commit() -> str | None:
    """Return the commit, with a + if the working tree differs from it."""
    try:
        git = ["git", "-C", str(Path(__file__).parent)]
        commit = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.stdout.strip() + ("+" if changed.stdout.strip() else "")
