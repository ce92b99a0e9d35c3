"""Ending a process with all that it has started."""

import os
import signal
import subprocess
from contextlib import suppress

LAST_WORDS = 3  # seconds


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started with `start_new_session=True`, and the processes below it.

    With PYTHONFAULTHANDLER set it first writes where each of its threads is.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(LAST_WORDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(subprocess.TimeoutExpired):  # one that is stuck in the driver cannot be ended: nobody waits for it
        process.wait(LAST_WORDS)
