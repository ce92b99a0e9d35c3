"""Make a process forked by a server behave as a command."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def become_command(argv: Sequence[str], output: Path) -> None:
    """Run a command in place of this process of `multiprocessing`; append its output to a file.

    A process of `multiprocessing` has a parent, whose end would end its workers; a command has none.
    """
    with output.open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    sys.argv = [*argv]
