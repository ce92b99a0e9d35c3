"""Run each command in a fork of a process with all imports done, which takes 0.1 s of CPU time instead of 4 s."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from bench.faults.fork import become_command
from configs import command
from configs.errors import run_command
from dali_pipelines import worker
from trainers.weights import export
from trainers.weights.programs import program

TIMEOUT_S = 300
OUTPUT = "output.txt"
"""The output of a command, in its folder."""
SCRIPTS = {"report": "trainers.commands.report", "probe": "trainers.commands.probe"}
"""Commands that `clipfeed` does not have."""
PRELOAD = [
    __name__,
    *(f"dali_pipelines.{name}" for name in ("inspect", "lists", "loader", "prepare", "preview")),
    *(f"trainers.commands.{name}" for name in ("export", "extract_features", "finetune", "import_checkpoint")),
    *(f"trainers.commands.{name}" for name in ("pretrain", "probe", "report", "test")),
    "matplotlib.pyplot",
    "nvidia.dali.fn",
    "torchvision.transforms.v2",
]


def start(words: str, folder: Path) -> ForkServerProcess:
    """Start a command in the folder; its output goes to OUTPUT."""
    forkserver.set_forkserver_preload(PRELOAD)
    process = get_context("forkserver").Process(target=_be, args=(words.split(), folder))
    process.start()
    return process


def run(words: str, folder: Path) -> tuple[int | None, str]:
    """Run a command in the folder; return its exit status, None if it hangs, and its output."""
    process = start(words, folder)
    process.join(TIMEOUT_S)
    hangs = process.exitcode is None
    process.kill()
    process.join()
    return None if hangs else process.exitcode, (folder / OUTPUT).read_text(errors="replace")


def _be(argv: list[str], folder: Path) -> None:
    """Become a command, in a process that has imported everything."""
    become_command(["clipfeed", *argv], folder / OUTPUT, anew=True)
    os.chdir(folder)
    worker.CONTEXT = get_context("fork")  # type: ignore[assignment]  # no thread and no GPU was used before it
    vars(export)["program"] = _traced_once(program, folder)
    if argv[0] in SCRIPTS:
        del sys.argv[1]
        run_command(SCRIPTS[argv[0]])
    command.main()


def _traced_once(trace: Callable[..., bytes], folder: Path) -> Callable[..., bytes]:
    """Cache the first call's result for later processes: tracing takes ten seconds, and writes nothing."""

    def traced(net: Any, name: str, clip: Any, suffix: str) -> bytes:
        path = folder / f"traced{suffix}"
        with suppress(FileNotFoundError):
            return path.read_bytes()
        path.write_bytes(trace(net, name, clip, suffix))
        return path.read_bytes()

    return traced
