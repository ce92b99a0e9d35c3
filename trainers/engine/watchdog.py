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
GRACE_S = 30.0
"""Extra seconds until C code ends the process, in case the hanging thread holds the GIL."""
STDERR = 2
"""Not sys.stderr, which is not a file in a notebook."""
STACKS_S = 1.0
"""Seconds for the workers to print their stacks."""


@contextmanager
def watched(seconds: float | None, doing: Callable[[], str]) -> Iterator[None]:
    """End this process if the block takes longer than `seconds`; None for no limit.

    `doing`, called in another thread, describes what the process was doing.
    """
    if seconds is None:
        yield
        return
    timer = threading.Timer(seconds, _end, (seconds, doing))
    timer.daemon = True
    timer.start()
    faulthandler.dump_traceback_later(seconds + GRACE_S, exit=True, file=STDERR)
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()


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
