"""Choose the device of a rank, and say in one line why a GPU cannot be used."""

import os
import warnings
from pathlib import Path

import torch

from configs.errors import UserError

MIN_FREE = 2**30
"""Bytes of a GPU's memory below which no recipe of ours trains."""
DRIVER_FILE = Path("/dev/nvidiactl")


def choose_device(name: str, local_rank: int) -> tuple[torch.device, str]:
    """Return the device that `name` means, and a note for the user, or "".

    Args:
        name: auto, cpu or cuda; auto takes a GPU where torch can use one.
        local_rank: this process among those of the machine.

    Raises:
        UserError: a GPU is asked for, or there, and cannot be used.
    """
    if name == "cpu":
        return torch.device("cpu"), ""
    fault = why_no_gpu()
    if fault and name == "auto":
        return torch.device("cpu"), f"training on the CPU: {fault}" if DRIVER_FILE.exists() else ""
    if fault:
        raise UserError(f"--device {name}: {fault}; or pass --device cpu")
    gpus = torch.cuda.device_count()
    if local_rank >= gpus:
        raise UserError(
            f"local rank {local_rank} has no GPU, {gpus} are visible; "
            "start as many processes as GPUs (torchrun --nproc-per-node) or pass --device cpu"
        )
    check_memory(local_rank)
    return torch.device("cuda", local_rank), ""


def why_no_gpu() -> str:
    """Return why torch can use no GPU, as one line with the way out, or "" when it can."""
    with warnings.catch_warnings():  # of an old driver, which is reported below
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
    """Raise UserError when hardly any of a GPU's memory is free."""
    try:
        free, total = torch.cuda.mem_get_info(local_rank)
    except RuntimeError as error:  # even a context of its own did not fit
        first = str(error).splitlines()[0]
        raise UserError(f"GPU {local_rank} cannot be used: {first}; `nvidia-smi` shows what runs on it") from error
    if free < MIN_FREE:
        raise UserError(
            f"GPU {local_rank} has {free >> 20} of {total >> 20} MiB free, other processes hold the rest (`nvidia-smi` "
            "shows them): end them, or choose another GPU with CUDA_VISIBLE_DEVICES"
        )
