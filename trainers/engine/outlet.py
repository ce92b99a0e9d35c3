"""Where the figures of a run go, while the disk has room and while it has none."""

from collections import deque
from collections.abc import Callable

from configs.errors import UserError
from dali_pipelines.progress import tell


class Outlet:
    """Writes that are made in order. One that fails is kept, and made again before the next.

    Args:
        go_on: warn of the first one that fails, and go on; else that ends the run.
    """

    def __init__(self, *, go_on: bool) -> None:
        self._go_on, self._warned = go_on, False
        self._left: deque[Callable[[], object]] = deque()

    def add(self, write: Callable[[], object]) -> None:
        """Take a write for the next `flush`. It must write all or nothing: it may be called again."""
        self._left.append(write)

    def flush(self) -> bool:
        """Make all writes that are left; return whether all are made.

        Raises:
            UserError: one failed, and the run is not to go on.
        """
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
        """Try once more, and say what is lost."""
        try:
            self._write()
        except OSError as error:
            tell(f"warning: {len(self._left)} lines are lost: {error}")

    def _write(self) -> None:
        while self._left:
            self._left[0]()
            self._left.popleft()
