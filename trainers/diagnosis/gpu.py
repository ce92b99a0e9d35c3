"""The GPU: whether torch can use it, its memory, and its video decoders (NVDEC)."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from configs.words import counted
from dali_pipelines.decode.driver import decoders, has_nvdec
from trainers.diagnosis import Finding, State, Subject
from trainers.engine.devices import DRIVER_FILE, MIN_FREE, why_no_gpu

NVDEC = ("h264", "hevc", "vp9")
"""Codecs that datasets may use and GPUs may decode."""


@dataclass(frozen=True)
class Gpu:
    """One GPU: free and total memory in bytes, and the number of decoders per codec."""

    name: str
    free: int
    total: int
    decoders: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """What the driver and torch report; tests replace it."""

    driver: str = ""
    """The driver's version; "" without one."""
    fault: str = ""
    """Why torch cannot use a GPU; "" if it can."""
    gpus: tuple[Gpu, ...] = ()
    nvdec: bool = False
    """Whether the driver's decoder library was found."""


def ask() -> Answers:
    """Query the driver and torch."""
    driver = driver_version() if DRIVER_FILE.exists() else ""
    if fault := why_no_gpu():
        return Answers(driver, fault)
    nvdec, gpus = has_nvdec(), []
    for number in range(torch.cuda.device_count()):
        with torch.cuda.device(number):
            found = decoders() if nvdec else {}
        gpus.append(Gpu(torch.cuda.get_device_name(number), *torch.cuda.mem_get_info(number), found))
    return Answers(driver, "", tuple(gpus), nvdec)


def driver_version() -> str:
    """Return the driver version from nvidia-smi, or "unknown"."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def check(subject: Subject) -> Iterator[Finding]:
    """Check the GPUs for the requested device."""
    if subject.device == "cpu":
        yield Finding("ok", "GPU", "not asked for: --device cpu")
        return
    answers = ask()
    if answers.fault:
        wanted = subject.device == "cuda"
        state: State = "problem" if wanted else "warning" if answers.driver else "ok"
        driver = f"driver {answers.driver}; " if answers.driver else "no NVIDIA driver; "
        do = "see docs/install.md for torch and DALI of your driver's CUDA" if state != "ok" else ""
        yield Finding(state, "GPU", f"{driver}{answers.fault}" + "; runs train on the CPU" * (not wanted), do)
        return
    for number, gpu in enumerate(answers.gpus):
        text = f"{gpu.name}, driver {answers.driver}, {gpu.free >> 20} of {gpu.total >> 20} MiB free"
        full = gpu.free < MIN_FREE
        do = "end what `nvidia-smi` shows, or choose another one with CUDA_VISIBLE_DEVICES" if full else ""
        yield Finding("problem" if full else "ok", f"GPU {number}", text, do)
        yield nvdec(number, gpu, answers)


def nvdec(number: int, gpu: Gpu, answers: Answers) -> Finding:
    """Check the video decoders of a GPU."""
    about = f"NVDEC {number}"
    if not answers.nvdec:
        text = "the driver's libnvcuvid.so.1 is missing: PyAV decodes on the CPU"
        do = "in a container, start it with NVIDIA_DRIVER_CAPABILITIES=compute,video,utility"
        return Finding("warning", about, text, do)
    taken = [f"{codec} on {counted(gpu.decoders[codec], 'decoder')}" for codec in NVDEC if codec in gpu.decoders]
    if "h264" not in gpu.decoders:
        text = f"no H.264: {', '.join(taken) or 'nothing that a dataset is stored as'}"
        return Finding("warning", about, text, "PyAV decodes on the CPU: see docs/gpu.md for --codec rawvideo")
    return Finding("ok", about, ", ".join(taken))
