"""Choose a rank's device, and explain in one line why a GPU cannot be used."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from configs.errors import UserError
from configs.words import counted

MIN_FREE = 2**30
"""Free bytes of GPU memory below which none of our recipes trains."""
DRIVER_FILE = Path("/dev/nvidiactl")


def choose_device(name: str, local_rank: int | None) -> tuple[torch.device, str]:
    """Return the device for `name`, and a note for the user, or "". auto takes a GPU if torch can use one.

    `local_rank` is the index of this process on its machine; None if unknown, which only a single GPU allows. UserError
    for an unknown name, and if a GPU was requested or found but cannot be used.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"device {name!r}: give auto, cpu or cuda; CUDA_VISIBLE_DEVICES chooses among several GPUs")
    if name == "cpu":
        return torch.device("cpu"), ""
    fault = why_no_gpu()
    if fault and name == "auto":
        return torch.device("cpu"), f"training on the CPU: {fault}" if DRIVER_FILE.exists() else ""
    if fault:
        raise UserError(f"--device {name}: {fault}; or pass --device cpu")
    gpus = torch.cuda.device_count()
    if local_rank is None and gpus > 1:
        raise UserError(
            f"{counted(gpus, 'GPU')} are visible, and LOCAL_RANK does not say which of them each rank takes: start the "
            "ranks with torchrun, or set it to a rank's number on its machine"
        )
    local_rank = local_rank or 0
    if local_rank >= gpus:
        raise UserError(
            f"local rank {local_rank} has no GPU, {counted(gpus, 'GPU')} visible; "
            "start as many processes as GPUs (torchrun --nproc-per-node), set LOCAL_RANK=0 if each sees only its own, "
            "or pass --device cpu"
        )
    check_memory(local_rank)
    return torch.device("cuda", local_rank), ""


def why_no_gpu() -> str:
    """Explain in one line why torch cannot use a GPU, with the way out; "" if it can."""
    with warnings.catch_warnings():  # about an old driver, which is reported below
        warnings.simplefilter("ignore")
        if torch.cuda.is_available():
            return ""
    made_for = f"torch {torch.__version__}" + f" for CUDA {torch.version.cuda}" * bool(torch.version.cuda)
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).split(". ")[0].strip()
        way_out = "; update the driver, or install torch and DALI for its CUDA" if "too old" in reason else ""
        return f"{made_for} finds no usable GPU ({reason}){way_out}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    return f"{made_for} sees no GPU" + (f", CUDA_VISIBLE_DEVICES is {hidden!r}" if hidden is not None else "")


def check_memory(local_rank: int) -> None:
    """Raise UserError if a GPU has less than `MIN_FREE` bytes free."""
    try:
        free, total = torch.cuda.mem_get_info(local_rank)
    except RuntimeError as error:  # not even a CUDA context fits
        first = str(error).splitlines()[0]
        raise UserError(f"GPU {local_rank} cannot be used: {first}; `nvidia-smi` shows what runs on it") from error
    if free < MIN_FREE:
        raise UserError(
            f"GPU {local_rank} has {free >> 20} of {total >> 20} MiB free, other processes hold the rest (`nvidia-smi` "
            "shows them): end them, or choose another GPU with CUDA_VISIBLE_DEVICES"
        )


@contextmanager
def enough_memory(batch: str, way_out: str) -> Iterator[None]:
    """Raise UserError, with the batch and the way out, if the block asks torch for more memory than there is."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = ". ".join(str(error).split(". ")[:2])  # then torch explains its allocator
        raise UserError(
            f"the GPU's memory does not hold {batch}: {way_out}; `nvidia-smi` shows what else is in it ({reason})"
        ) from error
    except RuntimeError as error:  # of the CPU's allocator, which has no exception class
        if found := re.search(r"DefaultCPUAllocator: .*you tried to allocate (\d+) bytes", str(error)):
            raise UserError(
                f"the memory does not hold the network and {batch}, of which one tensor has {int(found[1]):,} bytes: "
                f"lower the sizes under net and plan, or {way_out}"
            ) from error
        raise
