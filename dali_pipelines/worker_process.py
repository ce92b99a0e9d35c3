"""What a worker process of `dali_pipelines.workers` runs."""

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from configs.errors import UserError
from dali_pipelines.shared_memory import SharedMemory, Spans, pack, unpack


def serve(pipe: Connection, memory: SharedMemory, packed: tuple[bytes, Spans]) -> None:
    """Do the jobs that come through the pipe, until it ends.

    Args:
        packed: the function to call with each job, in slot 0.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the main process's business
    threading.Thread(target=_end_with_parent, daemon=True).start()
    room = memory.room(0)
    room.flags.writeable = False
    with suppress(EOFError, OSError):  # the main process is gone
        try:
            function = unpack(*packed, room)
        except UserError as error:  # a file that the function needs is another one by now
            pipe.send(error)
            return
        pipe.send("started")
        while True:
            job, slot = pipe.recv()
            memory.mark(slot, begun=True)
            pipe.send(_outcome(function, job, memory, slot))


def _outcome(function: Callable[[Any], Any], job: Any, memory: SharedMemory, slot: int) -> tuple[bool, bytes, Spans]:
    try:
        return False, *pack(function(job), memory.room(slot))
    except Exception as error:
        error.add_note(f"In a worker process:\n{traceback.format_exc()}")
        try:
            head = pickle.dumps(error)
            pickle.loads(head)
        except Exception:
            head = pickle.dumps(RuntimeError("".join(traceback.format_exception(error))))
        return True, head, []


def _end_with_parent() -> None:
    """End this process when the main one is killed, in the middle of a job as well."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
