"""Fresh processes in which Python, torch and DALI are imported already.

A server, one for each process that runs tests, forks itself whenever a test wants a process: 0.1 s of CPU time instead
of 4 s. Each process is a test's own: it may be killed, and leaves nothing to the next.
"""

import faulthandler
import importlib
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
"""Seconds until processes are killed: before pytest-timeout ends the test, so that one sees what they printed."""

SPAWN = util.spawnv_passfds  # how multiprocessing starts an interpreter


def preload() -> None:
    """Import PRELOAD and start the server as a fork of this process, where it does not run yet.

    Call it before this process has threads. A server that starts from nothing would import all of it once more, in 5 s.
    """
    for module in PRELOAD:
        importlib.import_module(module)
    resource_tracker.ensure_running()  # the server would start it as a fork too
    with mock.patch.object(util, "spawnv_passfds", _fork):
        forkserver.ensure_running()


def start(target: Callable[..., object], *args: object, env: Mapping[str, str] | None = None) -> ForkServerProcess:
    """Start `target(*args)` in a process with this one's environment and working folder, and `env`."""
    preload()
    first = (os.environ | (env or {}), Path.cwd(), target)
    process = get_context("forkserver").Process(target=_begin, args=(*first, *args))
    process.start()
    return process


def start_command(*args: object, output: Path, env: Mapping[str, str] | None = None) -> ForkServerProcess:
    """Start the script `args[0]` with the other arguments; `output` receives what it prints, errors too."""
    return start(run_command, [str(arg) for arg in args], output, env=env)


def join(processes: Sequence[ForkServerProcess], grace: float = TIMEOUT) -> list[int | None]:
    """Wait for processes to end and return their exit statuses.

    Where one fails, the others have `grace` seconds to end by themselves, and are killed then.
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
    """Be the script `argv[0]`, printing to a file."""
    become_command(argv, output)
    sys.path.insert(0, str(Path(argv[0]).parent))
    runpy.run_path(argv[0], run_name="__main__")


def _fork(_: str, command: Sequence[str], fds: Sequence[int]) -> int:
    """Stand in for the start of `python -c CODE` with no files open but `fds`: a fork that executes CODE."""
    sys.stdout.flush()
    sys.stderr.flush()
    if pid := os.fork():
        return pid
    try:  # pytest captures output and errors in these places
        util.spawnv_passfds = SPAWN
        vars(forkserver)["_forkserver"].__init__()  # else its lock is held for ever here
        faulthandler.disable()
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", closefd=False) for fd in (1, 2))
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
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored under nohup, which a run heeds
    target(*args)
