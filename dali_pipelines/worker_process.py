"""What a worker process of `dali_pipelines.workers` runs."""

import ctypes
import faulthandler
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from configs.errors import UserError
from dali_pipelines.read_ahead import ReadAhead
from dali_pipelines.shared_memory import SharedMemory, Spans, pack, unpack

TELL_STACK = signal.SIGUSR2
"""Makes a worker print the stacks of its threads."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # in malloc.h
KEPT = 2**25
"""Bytes of the largest array that is kept, the most that glibc allows; of all of them eight times as much."""
NOT_OURS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""Signals that a terminal, torchrun or Slurm sends to all processes of a job, and the main one answers."""


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
