"""What the machine is. Every fact stands alone: one that cannot be had leaves its error text in its place."""

import ctypes
import os
import subprocess
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

from bench.gpu_checks import NotHere, Where, need_gpu
from bench.gpu_checks.nvdec import decoder_caps

PACKAGES = ("torch", "torchvision", "nvidia-dali-cuda130", "nvidia-nvimgcodec-cu13", "nvidia-nvjpeg", "av", "numpy")
DRIVER = ("name", "driver_version", "vbios_version", "memory.total", "mig.mode.current", "pcie.link.gen.current")
LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1", "libnvidia-ml.so.1", "libnvjpeg.so.13")


def measure(item: str, where: Where) -> dict[str, Any]:
    """The facts of one kind."""
    if item == "machine":
        facts: dict[str, Any] = {"usable_cores": len(os.sched_getaffinity(0))}
        facts |= {name: told(partial(version, name)) for name in PACKAGES}
        machine = told(_machine)
        facts |= machine if isinstance(machine, dict) else {"machine": machine}
        shared = os.statvfs("/dev/shm")
        return facts | {"shared_memory_mib": shared.f_blocks * shared.f_frsize // 2**20}
    if item == "driver":
        query = ["nvidia-smi", f"--query-gpu={','.join(DRIVER)}", "--format=csv,noheader"]
        values = [value.strip() for value in output(*query).split(",")]
        return dict(zip(DRIVER, values, strict=True)) | {"capabilities": os.environ.get("NVIDIA_DRIVER_CAPABILITIES")}
    if item == "libraries":
        lines = told(lambda: output("ldconfig", "-p")).splitlines()
        known = [line.strip() for line in lines if any(name in line for name in ("nvcuvid", "nvjpeg"))]
        return {"ldconfig": known, **{name: told(partial(loads, name)) for name in LIBRARIES}}
    need_gpu()
    return decoder_caps()


def told(ask: Callable[[], Any]) -> Any:
    """What `ask` says, or its error as text."""
    try:
        return ask()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def loads(name: str) -> str:
    ctypes.CDLL(name)
    return "loads"


def output(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        raise NotHere(f"there is no {command[0]}") from None
    if done.returncode:
        raise NotHere(f"{command[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _machine() -> dict[str, Any]:
    from bench.machine import machine

    return {key: value for key, value in machine().items() if key not in ("versions", "date")}
