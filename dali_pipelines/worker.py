"""A worker process as its pool sees it: how it starts, how it ends, and why it died.

Nobody but the worker holds its end of the pipe, so that a death ends what is read from there, even in the middle of a
message.
"""

import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from dali_pipelines.shared_memory import SharedMemory, Spans
from dali_pipelines.worker_process import NOT_OURS, TELL_STACK, serve

CONTEXT: SpawnContext | ForkServerContext = multiprocessing.get_context("spawn")
"""Fork is forbidden once CUDA runs, and the threads of FFmpeg do not survive one."""
NO_GUARD = 97
"""The exit status of a worker that makes a pool, as it runs the script that started it."""
GUARD = "put what it does under if __name__ == '__main__':"
STACK_S = 0.2
"""Seconds that a worker has to print its stack before it is killed."""
END_S = 1.0
"""Seconds that a worker has to end by itself."""


@dataclass(eq=False)
class Worker:
    """A process with its end of the pipe."""

    process: BaseProcess
    pipe: Connection
    open: bool
    """Whether it takes jobs: a replacement only does once it has started, as until then the others are faster."""
    started: bool = False
    held: deque[Any] = field(default_factory=deque)
    """The jobs that it was given; it is working on the first."""
    since: float = 0.0
    """When it began to."""
    hung: bool = False
    """Whether it was killed for taking too long."""

    @classmethod
    def start(cls, memory: SharedMemory, function: tuple[bytes, Spans], *, open: bool) -> "Worker":
        """Start a process that serves; see `worker_process.serve` for the arguments."""
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=serve, args=(theirs, memory, function), daemon=True)
        # Ctrl-C is this process's business. A new one inherits the mask, and would die of it while it imports.
        resource_tracker.ensure_running()  # which would unblock signals if the start had to do it
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_OURS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        return cls(process, ours, open)

    def kill_hung(self) -> None:
        """Make it print its stack, and kill it."""
        self.hung = True
        with suppress(OSError):
            os.kill(self.process.pid or 0, TELL_STACK)
        time.sleep(STACK_S)
        self.process.kill()

    def end(self) -> None:
        """Wait until it has ended; kill it if it closed its end of the pipe and lives on."""
        self.pipe.close()
        self.process.join(END_S)
        self.process.kill()
        self.process.join()

    def killed_by(self) -> str:
        """Return what it died of: "SIGSEGV", "exit code 1" ..."""
        code = self.process.exitcode or 0
        names = {-number: number.name for number in signal.Signals}
        return names.get(code, f"signal {-code}" if code < 0 else f"exit code {code}")

    def require_guard(self) -> None:
        """End this process if the worker died because the script, which it runs again, made a pool."""
        if self.process.exitcode == NO_GUARD:
            # Not an error to be caught: the script that runs into this is wrong, and a traceback says less.
            raise SystemExit(f"error: {sys.argv[0]} starts worker processes, which run it again: {GUARD}")


def require_main_guard() -> None:
    """End a worker that runs the script that started it; SystemExit too for a script that workers cannot read."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # as multiprocessing itself tells
        sys.exit(NO_GUARD)
    script = getattr(sys.modules["__main__"], "__file__", None)
    if script is not None and not os.path.exists(script):
        raise SystemExit(f"error: worker processes cannot read the script {script}: save it as a file, and {GUARD}")
