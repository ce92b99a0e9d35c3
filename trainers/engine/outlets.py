"""Reports of a run that may fail: writes are kept for a retry, a logger that breaks is left out."""

import traceback
from collections import deque
from collections.abc import Callable
from functools import partial

from configs.errors import UserError, printable
from configs.words import counted
from dali_pipelines.progress import tell
from trainers.engine.loggers import Logger


class Outlet:
    """Run writes in order. One that fails is kept, and retried before the next."""

    def __init__(self, *, go_on: bool) -> None:
        """Build an outlet that, with `go_on`, only warns of its first failure; otherwise that ends the run."""
        self._go_on, self._warned = go_on, False
        self._left: deque[Callable[[], object]] = deque()

    def add(self, write: Callable[[], object]) -> None:
        """Add a write for the next `flush`. It must write all or nothing, as it may be called again."""
        self._left.append(write)

    def flush(self) -> bool:
        """Run all pending writes; return whether none is left. UserError if one fails, unless `go_on`."""
        try:
            self._write()
        except OSError as error:
            failed = f"cannot write the figures of the run: {error}"
            if not self._go_on:
                way_out = "make room and start the same command again: it goes on from the last checkpoint"
                raise UserError(f"{failed}; {way_out}") from error
            if not self._warned:
                tell(f"warning: {failed}; training goes on, and they are written once there is room")
            self._warned = True
        return not self._left

    def close(self) -> None:
        """Run all pending writes; warn about lost lines if that fails."""
        try:
            self._write()
        except OSError as error:
            tell(f"warning: {counted(len(self._left), 'line')} lost: {error}")

    def _write(self) -> None:
        while self._left:
            self._left[0]()
            self._left.popleft()


class LoggerOutlet(Outlet):
    """Call a logger. After an error that is none of the disk, the run goes on without it: metrics.jsonl has all."""

    def __init__(self, logger: Logger, *, go_on: bool) -> None:
        super().__init__(go_on=go_on)
        self._logger: Logger | None = logger

    def tell(self, call: Callable[[Logger], object]) -> None:
        """Add a call of the logger for the next `flush`."""
        self.add(partial(self._call, call))

    def end(self) -> None:
        """Close the logger; warn if that fails."""
        try:
            self._call(lambda logger: logger.close())
        except OSError as error:
            tell(f"warning: train.loggers: {type(self._logger).__name__} cannot be closed: {error}")

    def _call(self, call: Callable[[Logger], object]) -> None:
        if self._logger is None:
            return
        try:
            call(self._logger)
        except Exception as error:  # of any kind: loggers may be another package's, or talk to a service
            if _of_the_disk(error):
                raise
            name, self._logger = type(self._logger).__name__, None
            what, at = printable(" ".join(str(error).split())), traceback.extract_tb(error.__traceback__)[-1]
            failed = f"{name} failed ({type(error).__name__}: {what}, at {at.filename}:{at.lineno})"
            tell(f"warning: train.loggers: {failed}; training goes on without it")


def _of_the_disk(error: Exception) -> bool:
    """Tell errors of the disk from those of networks, many of which are OSErrors too."""
    network = isinstance(error, ConnectionError | TimeoutError)
    return isinstance(error, OSError) and not network and (error.errno or 0) > 0
