"""A worker process: how its pool starts it, ends it and learns why it died; and `serve`, which it runs.

Nobody but the worker holds its end of the pipe, so that a death ends what is read from there, even in the middle of a
message.
"""

import ctypes
import faulthandler
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

from configs.errors import UserError
from dali_pipelines.read_ahead import ReadAhead
from dali_pipelines.shared_memory import SharedMemory, Spans, pack, unpack

CONTEXT: SpawnContext | ForkServerContext = multiprocessing.get_context("spawn")
"""Fork is forbidden once CUDA runs, and the threads of FFmpeg do not survive one."""
NO_GUARD = 97
"""The exit status of a worker that makes a pool, as it runs the script that started it."""
GUARD = "put what it does under if __name__ == '__main__':"
STACK_S = 0.2
"""Seconds that a worker has to print its stack before it is killed."""
END_S = 1.0
"""Seconds that a worker has to end by itself."""
TELL_STACK = signal.SIGUSR2
"""Makes a worker print the stacks of its threads."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # in malloc.h
KEPT = 2**25
"""Bytes of the largest array that is kept, the most that glibc allows; of all of them eight times as much."""
NOT_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Signals that a terminal, torchrun or Slurm sends to all processes of a job, and the main one answers."""


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
        """Start a process that serves; see `serve` for the arguments."""
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


def serve(pipe: Connection, memory: SharedMemory, packed: tuple[bytes, Spans]) -> None:
    """Do the jobs that come through the pipe, until it ends.

    Args:
        packed: the function to call with each job, in slot 0, and what says which bytes a job needs, or None. With
            it, they are read as soon as the job comes, and the function is given a call that waits for them.
    """
    for number in NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    _keep_freed_memory()
    faulthandler.register(TELL_STACK, file=2)  # as sys.stderr may be no file
    threading.Thread(target=_end_with_parent, daemon=True).start()
    room = memory.room(0)
    room.flags.writeable = False
    with suppress(EOFError, OSError):  # the main process is gone
        try:
            function, find = unpack(*packed, room)
        except UserError as error:  # a file that the function needs is another one by now
            pipe.send(error)
            return
        ahead = ReadAhead(find) if find else None
        held: deque[tuple[Callable[[], Any], int]] = deque()
        pipe.send("started")
        while True:
            while not held or (ahead and pipe.poll()):
                job, slot = pipe.recv()
                held.append((partial(function, job, ahead.begin(job)) if ahead else partial(function, job), slot))
            call, slot = held.popleft()
            memory.mark(slot, begun=True)
            pipe.send(_outcome(call, memory, slot))


def _outcome(call: Callable[[], Any], memory: SharedMemory, slot: int) -> tuple[bool, bytes, Spans]:
    try:
        return False, *pack(call(), memory.room(slot))
    except Exception as error:
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        try:
            head = pickle.dumps(error)
            pickle.loads(head)
        except Exception:
            head = pickle.dumps(RuntimeError("".join(traceback.format_exception(error))))
        return True, head, []


def _keep_freed_memory() -> None:
    """Tell glibc not to hand the arrays of each job back to the system: clearing pages anew took a quarter of it."""
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, 8 * KEPT)


def _end_with_parent() -> None:
    """End this process when the main one is killed, in the middle of a job as well."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
