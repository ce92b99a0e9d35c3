"""Progress of a long job: a bar on a terminal, an occasional line elsewhere."""

import io
import sys
import time
from collections.abc import Iterable
from threading import RLock
from typing import Any, TypeVar

from tqdm import tqdm

T = TypeVar("T")

LINE_SECONDS = 10
"""Seconds between lines in log files, pipes, CI and notebooks."""


def tell(line: str) -> None:
    """Print a line. On a full disk it stays in the buffer, and work continues."""
    try:
        print(line, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        pass


class _Bar(tqdm):  # type: ignore[type-arg]  # generic in its stubs alone
    """A bar with a lock of this process: tqdm's own is a system semaphore, which outlives a killed process."""

    # tqdm takes the time of day, by which a bar stands still for as long as a clock is set back.
    _time = property(lambda self: time.monotonic, lambda self, clock: None)


_Bar.set_lock(RLock())


class _Lines(_Bar):
    """A bar without a terminal, printed as lines."""

    _told: float = 0

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        if msg is None and self.n > max(self._told, self.initial):
            tell(str(self))
            self._told = self.n


def bar(
    items: Iterable[T] | None = None,
    *,
    desc: str,
    total: int | None = None,
    initial: int = 0,
    leave: bool = True,
    quiet: bool = False,
) -> "tqdm[T]":
    """Create a tqdm bar that shows count, elapsed and remaining time, and the postfix.

    `initial` items of `total` were done before. `leave` keeps the finished bar on the screen; `quiet` shows nothing, as
    on all ranks but the first.
    """
    shared: dict[str, Any] = {"iterable": items, "desc": desc, "total": total, "initial": initial}
    shared |= {"leave": leave, "disable": quiet}
    shared["smoothing"] = 0  # the time left includes pauses such as validations
    if sys.stderr.isatty():
        shape = "{desc} {n_fmt}/{total_fmt} |{bar}| {elapsed}<{remaining}{postfix}"
        return _Bar(bar_format=shape, dynamic_ncols=True, **shared)
    line = "{desc} {n_fmt}/{total_fmt}, {elapsed} elapsed, {remaining} left{postfix}"
    return _Lines(bar_format=line, file=io.StringIO(), mininterval=LINE_SECONDS, miniters=1, **shared)
