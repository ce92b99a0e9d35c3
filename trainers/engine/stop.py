"""Signals that end a run between two steps, with a checkpoint."""

import os
import signal
import stat
from types import FrameType, TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGINT)
"""In order: a scheduler ends a job, or announces it; a terminal closes; Ctrl-C."""


class StopSignal:
    """Within the block, record one of `SIGNALS` instead of dying of it. A second Ctrl-C ends the process at once."""

    number = 0
    """The last signal received; 0 for none."""

    def __enter__(self) -> "StopSignal":
        # Background jobs ignore SIGINT, and those of nohup ignore SIGHUP: leave these ignored. Handle SIGUSR1 even if
        # ignored: a job script ignores it to spare torchrun, which would die of it.
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
            for again in (signal.SIGINT, signal.SIGTERM):  # torchrun turns a second Ctrl-C into SIGTERM
                signal.signal(again, signal.SIG_DFL)  # not KeyboardInterrupt, which C code does not see
            if os.environ.get("RANK", "0") == "0":  # not `print`, which the signal may have interrupted
                os.write(
                    2,
                    b"\nstopping after this step; Ctrl-C again ends at once, and loses the steps since the last "
                    b"checkpoint\n",
                )


def in_words(number: int) -> str:
    """Return the signal's name for users."""
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def _leave_terminal() -> None:
    """Discard further output to the terminal, which is gone: writing to it would fail."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        if stat.S_ISCHR(os.fstat(stream).st_mode):
            os.dup2(null, stream)
    os.close(null)
