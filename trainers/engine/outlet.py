"""Writes that wait while a disk is full."""

from collections import deque
from collections.abc import Callable

from configs.errors import UserError
from dali_pipelines.progress import tell


class Outlet:
    """Make writes in order. One that fails is kept, and repeated before the next.

    Args:
        go_on: only warn of the first failure. Otherwise it ends the run.
    """

    def __init__(self, *, go_on: bool) -> None:
        self._go_on, self._warned = go_on, False
        self._left: deque[Callable[[], object]] = deque()

    def add(self, write: Callable[[], object]) -> None:
        """Add a write for the next `flush`. It must write all or nothing, as it may be called again."""
        self._left.append(write)

    def flush(self) -> bool:
        """Make all pending writes; return whether none is left. UserError if one fails and the run is not to go on."""
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
        """Make all pending writes; say what is lost if that fails."""
        try:
            self._write()
        except OSError as error:
            tell(f"warning: {len(self._left)} lines are lost: {error}")

    def _write(self) -> None:
        while self._left:
            self._left[0]()
            self._left.popleft()
