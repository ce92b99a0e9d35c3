"""Signals that end a training run between two steps, saved."""

import os
import signal
import stat
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)
"""A scheduler ends a job, or announces that; a terminal is closed; Ctrl-C."""


class StopSignal:
    """Within the block, remember one of `SIGNALS` instead of dying of it. A second Ctrl-C ends the process at once."""

    number = 0
    """Of the last signal; 0 for none."""

    def __enter__(self) -> "StopSignal":
        # Jobs in a shell's background ignore SIGINT, those of nohup SIGHUP, and still do so here. SIGUSR1 is heard even
        # if it was ignored: a job script ignores it to spare torchrun, which would die of it.
        heard = [
            number
            for number in SIGNALS
            if number in (signal.SIGTERM, signal.SIGUSR1) or signal.getsignal(number) != signal.SIG_IGN
        ]
        self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        if number == signal.SIGHUP:
            _leave_terminal()
        if number == signal.SIGINT:
            for again in (signal.SIGINT, signal.SIGTERM):  # torchrun makes the latter of a second Ctrl-C
                signal.signal(again, signal.SIG_DFL)  # not KeyboardInterrupt, which C code does not see
            if os.environ.get("RANK", "0") == "0":  # not by `print`, which may be what was interrupted
                os.write(
                    2,
                    b"\nstopping after this step; Ctrl-C again ends at once, and loses the steps since the last "
                    b"checkpoint\n",
                )


def in_words(number: int) -> str:
    """Return what a user calls the signal."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _leave_terminal() -> None:
    """Discard output to a terminal from now on: it is gone, and writing to it would fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(null, stream)
    os.close(null)
