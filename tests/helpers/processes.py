"""Fresh processes with Python, torch and DALI already imported.

Each test process has a server, which forks itself whenever a test needs a process: 0.1 s of CPU time instead of 4 s.
A forked process belongs to one test, which may kill it; no state carries over to the next.
"""

import faulthandler
import gc
import importlib
import logging
import os
import runpy
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from multiprocessing import connection, forkserver, get_context, resource_tracker, util
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from unittest import mock

from bench.faults.fork import become_command

PRELOAD = [
    "dali_pipelines.demo_data",
    "dali_pipelines.prepare",
    "nvidia.dali.fn",
    "pytest",
    "torch.utils.tensorboard",
    "torchvision.transforms.v2",
    "tests.helpers.loop_worker",
]
TIMEOUT = 100
"""Seconds until processes are killed: before pytest-timeout ends the test, so that their output is shown."""

SPAWN = util.spawnv_passfds  # how multiprocessing starts an interpreter


def preload() -> None:
    """Import PRELOAD and fork the server from this process, unless it is running.

    Call this before the process has threads. A server that does not fork would repeat all imports, in 5 s.
    """
    for module in PRELOAD:
        importlib.import_module(module)
    resource_tracker.ensure_running()  # else it would start as a fork too
    with mock.patch.object(util, "spawnv_passfds", _fork):
        forkserver.ensure_running()


def start(target: Callable[..., object], *args: object, env: Mapping[str, str] | None = None) -> ForkServerProcess:
    """Start `target(*args)` in a process with this one's working directory and environment, plus `env`."""
    preload()
    first = (os.environ | (env or {}), Path.cwd(), target)
    process = get_context("forkserver").Process(target=_begin, args=(*first, *args))
    process.start()
    return process


def start_command(*args: object, output: Path, env: Mapping[str, str] | None = None) -> ForkServerProcess:
    """Start the script `args[0]` with the other arguments; `output` receives its stdout and stderr."""
    return start(run_command, [str(arg) for arg in args], output, env=env)


def join(processes: Sequence[ForkServerProcess], grace: float = TIMEOUT) -> list[int | None]:
    """Wait for processes to end and return their exit statuses.

    If one fails, the others are killed unless they end within `grace` seconds.
    """
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end and any(process.exitcode is None for process in processes):
        if any(process.exitcode for process in processes):
            end = min(end, time.monotonic() + grace)
        connection.wait([process.sentinel for process in processes if process.exitcode is None], timeout=0.1)
    for process in processes:
        process.kill()
        process.join()
    return [process.exitcode for process in processes]


def run_command(argv: list[str], output: Path) -> None:
    """Run the script `argv[0]` as `__main__`, printing to a file."""
    become_command(argv, output)
    sys.path.insert(0, str(Path(argv[0]).parent))
    runpy.run_path(argv[0], run_name="__main__")


def _fork(_: str, command: Sequence[str], fds: Sequence[int]) -> int:
    """Replace the start of `python -c CODE` by a fork that executes CODE, with only `fds` open."""
    gc.freeze()  # else the first full collection of each process would touch, and so copy, all that was imported
    gc.enable()  # which tests/conftest.py had not wanted during imports
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    try:  # undo what pytest changes to capture output and errors
        util.spawnv_passfds = SPAWN
        vars(forkserver)["_forkserver"].__init__()  # else its lock stays held in the fork
        faulthandler.disable()
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", closefd=False) for fd in (1, 2))
        for logger in (logging.root, *logging.root.manager.loggerDict.values()):
            for handler in getattr(logger, "handlers", []):  # a pipe of the server may get the number of their old file
                handler.stream = sys.stderr
        sys.excepthook, sys.unraisablehook = sys.__excepthook__, sys.__unraisablehook__
        threading.excepthook = threading.__excepthook__
        for before, after in pairwise([2, *sorted(fds), os.sysconf("SC_OPEN_MAX")]):
            os.closerange(before + 1, after)
        exec(command[-1], {})
    finally:
        os._exit(0)


def _begin(env: Mapping[str, str], folder: Path, target: Callable[..., object], *args: object) -> None:
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, which a run respects
    target(*args)
