"""Ending a process with all that it has started."""

import signal
import subprocess
from contextlib import suppress

import psutil

LAST_WORDS = 3  # seconds


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends a process and its children. With PYTHONFAULTHANDLER set it first writes where each of its threads is."""
    family = []
    with suppress(psutil.NoSuchProcess):
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    if process.poll() is None:
        process.send_signal(signal.SIGABRT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(LAST_WORDS)
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    with suppress(subprocess.TimeoutExpired):  # one that is stuck in the driver cannot be ended: nobody waits for it
        process.wait(LAST_WORDS)
