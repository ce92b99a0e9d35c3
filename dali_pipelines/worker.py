"""A worker process: how its pool starts it, ends it and learns why it died; and `serve`, its main loop.

Only the worker holds its end of the pipe, so if it dies, reads end, even in the middle of a message.
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
"""Fork is forbidden once CUDA runs, and FFmpeg's threads do not survive it."""
NO_GUARD = 97
"""Exit status of a worker that makes a pool because it reruns the script that started it."""
GUARD = "put what it does under if __name__ == '__main__':"
STACK_S = 0.2
"""Seconds for a worker to print its stack before it is killed."""
END_S = 1.0
"""Seconds for a worker to exit by itself."""
TELL_STACK = signal.SIGUSR2
"""Signal that makes a worker print the stacks of its threads."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # in malloc.h
KEPT = 2**25
"""Bytes of the largest freed array that is kept, the most that glibc allows; eight times as much in total."""
NOT_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Signals that a terminal, torchrun or Slurm sends to all processes of a job; only the main one handles them."""


@dataclass(eq=False)
class Worker:
    """A worker process and the pool's end of the pipe."""

    process: BaseProcess
    pipe: Connection
    open: bool
    """Whether it takes jobs. A replacement does once it has started; until then the others are faster."""
    started: bool = False
    held: deque[Any] = field(default_factory=deque)
    """Jobs given to it; it is working on the first."""
    since: float = 0.0
    """When it began that job, by the pool's clock."""
    hung: bool = False
    """Whether it was killed for taking too long."""

    @classmethod
    def start(cls, workers: list["Worker"], memory: SharedMemory, function: tuple[bytes, Spans], *, open: bool) -> None:
        """Start a process that runs `serve`, and list it in `workers`; see `serve` for the arguments.

        It is listed first: if Ctrl-C came in between, nobody would kill it at exit, and multiprocessing waits for it.
        """
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=serve, args=(theirs, memory, function), daemon=True)
        workers.append(cls(process, ours, open))
        # Ctrl-C is for this process. A new one inherits the mask; it would otherwise die of Ctrl-C while importing.
        resource_tracker.ensure_running()  # else the start does this, which unblocks signals
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, NOT_OURS)
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()

    def kill_hung(self) -> None:
        """Make the worker print its stack, then kill it."""
        self.hung = True
        with suppress(OSError):
            os.kill(self.process.pid or 0, TELL_STACK)
        time.sleep(STACK_S)
        self.process.kill()

    def end(self) -> None:
        """Wait for the worker to exit; kill it if it closed its end of the pipe but lives on."""
        self.pipe.close()
        self.process.join(END_S)
        self.process.kill()
        self.process.join()

    def killed_by(self) -> str:
        """Return what killed the worker: "SIGSEGV", "exit code 1" ..."""
        code = self.process.exitcode or 0
        names = {-number: number.name for number in signal.Signals}
        return names.get(code, f"signal {-code}" if code < 0 else f"exit code {code}")

    def require_guard(self) -> None:
        """Exit if the worker died because it reran the script, which made a pool."""
        if self.process.exitcode == NO_GUARD:
            # Not an error to catch: the script is wrong, and a traceback would say less.
            raise SystemExit(f"error: {sys.argv[0]} starts worker processes, which run it again: {GUARD}")


def stop_at_exit() -> None:
    """End this thread if the main one has ended: at exit, a process that is started now would never be killed."""
    if not threading.main_thread().is_alive():
        raise SystemExit


def require_main_guard() -> None:
    """Exit if this is a worker rerunning the script that started it, or if workers cannot read the script.

    UserError in a process that may have none.
    """
    if getattr(multiprocessing.current_process(), "_inheriting", False):  # multiprocessing's own check
        sys.exit(NO_GUARD)
    if multiprocessing.current_process().daemon:
        raise UserError("a daemonic process, such as a worker of a DataLoader, may start no workers: use workers=0")
    main = sys.modules["__main__"]
    script = None if main.__spec__ else getattr(main, "__file__", None)  # a module is found by its name
    if script is not None and not os.path.exists(script):
        raise SystemExit(f"error: worker processes cannot read the script {script}: save it as a file, and {GUARD}")


def serve(pipe: Connection, memory: SharedMemory, packed: tuple[bytes, Spans]) -> None:
    """Do the jobs that arrive through the pipe until it closes.

    `packed` are the function to call with each job, and `find` or None, with arrays in slot 0. `find` locates the bytes
    of a job, which are read as soon as it arrives; the function also gets a call that waits for them.
    """
    for number in NOT_OURS:
        signal.signal(number, signal.SIG_IGN)
    _keep_freed_memory()
    faulthandler.register(TELL_STACK, file=2)  # sys.stderr may not be a file
    threading.Thread(target=_end_with_parent, daemon=True).start()
    room = memory.room(0)
    room.flags.writeable = False
    with suppress(EOFError, OSError):  # the main process is gone
        try:
            function, find = unpack(*packed, room)
        except UserError as error:  # a file that the function needs has changed
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
    """Tell glibc not to return the arrays of each job to the system: clearing pages again took a quarter of it."""
    with suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, KEPT)
        mallopt(M_TRIM_THRESHOLD, 8 * KEPT)


def _end_with_parent() -> None:
    """End this process when the main one is killed, even in the middle of a job."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
