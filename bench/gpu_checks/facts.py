"""Report facts about the machine. Facts are independent: one that is unavailable leaves its error text."""

import ctypes
import os
import subprocess
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

from bench.gpu_checks import Target, Unavailable, need_gpu
from configs.words import counted
from dali_pipelines import limits

PACKAGES = ("torch", "torchvision", "nvidia-dali-cuda130", "nvidia-nvimgcodec-cu13", "nvidia-nvjpeg", "av", "numpy")
DRIVER = ("name", "driver_version", "vbios_version", "memory.total", "mig.mode.current", "pcie.link.gen.current")
LIBRARIES = ("libcuda.so.1", "libnvcuvid.so.1", "libnvidia-ml.so.1", "libnvjpeg.so.13")


def measure(item: str, target: Target) -> dict[str, Any]:
    """Report the facts of one kind."""
    return {"machine": machine, "driver": driver, "libraries": libraries, "decoders": decoders}[item]()


def machine() -> dict[str, Any]:
    """Report cores, memory and the versions of installed packages."""
    cores, shared = limits.cores(), os.statvfs("/dev/shm")
    shared_mib = shared.f_blocks * shared.f_frsize // 2**20
    versions = {name: value_or_error(partial(version, name)) for name in PACKAGES}
    more = value_or_error(_machine)
    return {
        "answer": f"{counted(cores, 'core')}, {shared_mib} MiB of shared memory, torch {versions['torch']}",
        "usable_cores": cores,
        "shared_memory_mib": shared_mib,
        **versions,
        **(more if isinstance(more, dict) else {"machine": more}),
    }


def driver() -> dict[str, Any]:
    """Report the output of nvidia-smi."""
    query = ["nvidia-smi", f"--query-gpu={','.join(DRIVER)}", "--format=csv,noheader", "--id=0"]
    values = dict(zip(DRIVER, (value.strip() for value in output(*query).split(",")), strict=True))
    answer = f"{values['name']}, driver {values['driver_version']}, {values['memory.total']}"
    return {"answer": answer, **values, "capabilities": os.environ.get("NVIDIA_DRIVER_CAPABILITIES")}


def libraries() -> dict[str, Any]:
    """Report which libraries of the driver and of CUDA load."""
    lines = value_or_error(lambda: output("ldconfig", "-p")).splitlines()
    listed = [line.strip() for line in lines if any(name in line for name in ("nvcuvid", "nvjpeg"))]
    states = {name: value_or_error(partial(loads, name)) for name in LIBRARIES}
    missing = [name for name, state in states.items() if state != "loads"]
    return {"answer": f"missing: {', '.join(missing)}" if missing else "all load", **states, "ldconfig": listed}


def decoders() -> dict[str, Any]:
    """Report the capabilities of the hardware decoders."""
    need_gpu()
    from dali_pipelines.decode.driver import decoder_caps  # needs torch, the other facts do not

    rows = decoder_caps()
    able = [
        f"{name} {counted(row['engines'], 'engine')}, {row['min_width']}x{row['min_height']} up"
        for name, row in rows.items()
        if row["supported"]
    ]
    return {"answer": "; ".join(able) or "none", "rows": rows}


def value_or_error(ask: Callable[[], Any]) -> Any:
    """Return the result of `ask`, or its error as text."""
    try:
        return ask()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def loads(name: str) -> str:
    ctypes.CDLL(name)
    return "loads"


def output(*command: str) -> str:
    """Return the output of a command; Unavailable if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        raise Unavailable(f"there is no {command[0]}") from None
    if done.returncode:
        raise Unavailable(f"{command[0]}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _machine() -> dict[str, Any]:
    from bench.machine import machine

    return {key: value for key, value in machine().items() if key not in ("versions", "date")}
