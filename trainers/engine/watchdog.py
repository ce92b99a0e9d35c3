"""End a run that hangs, and print the stacks of its threads and its workers."""

import faulthandler
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from dali_pipelines.worker import TELL_STACK

STATUS = 75
"""The exit status of a run that hung: EX_TEMPFAIL of sysexits.h, "try again"."""
TICK_S = 1.0
"""The limit counts ticks, not the clock: a suspended process (SIGSTOP) makes none, so it is not taken for hanging."""
HELD_GIL_S = 3600.0
"""Extra seconds until C code ends the process: a thread that hangs and holds the GIL stops the ticks, too.

C code reads the clock, so it also ends a process that was suspended for so long.
"""
STDERR = 2
"""Not sys.stderr, which is not a file in a notebook."""
STACKS_S = 1.0
"""Seconds for the workers to print their stacks."""


@contextmanager
def watched(seconds: float | None, doing: Callable[[], str]) -> Iterator[None]:
    """End this process if the block takes longer than `seconds`; None for no limit.

    Time in which the process was suspended does not count, up to an hour. `doing`, called in another thread, describes
    what the process was doing.
    """
    if seconds is None:
        yield
        return
    done = threading.Event()
    threading.Thread(target=_count, args=(seconds, doing, done), daemon=True).start()
    faulthandler.dump_traceback_later(seconds + HELD_GIL_S, exit=True, file=STDERR)
    try:
        yield
    finally:
        done.set()
        faulthandler.cancel_dump_traceback_later()


def _count(seconds: float, doing: Callable[[], str], done: threading.Event) -> None:
    left = seconds
    while left > 0:
        if done.wait(min(left, TICK_S)):
            return
        left -= TICK_S
    _end(seconds, doing)


def _end(seconds: float, doing: Callable[[], str]) -> None:
    text = (
        f"error: {doing()} takes longer than {seconds:g} s (train.timeout_s). The same command goes on from the last "
        "checkpoint. The stacks of this process and its workers:\n"
    )
    os.write(STDERR, text.encode())
    for worker in multiprocessing.active_children():
        with suppress(OSError):
            os.kill(worker.pid or 0, TELL_STACK)
    faulthandler.dump_traceback(file=STDERR)
    time.sleep(STACKS_S)
    os._exit(STATUS)
