"""Make a process forked by a server behave as a command."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def become_command(argv: Sequence[str], output: Path, *, anew: bool = False) -> None:
    """Turn this process of `multiprocessing` into a command with these arguments that prints to a file.

    The file is appended to unless `anew`. A process of `multiprocessing` has a parent, whose end would end its workers;
    a command has none.
    """
    with output.open("w" if anew else "a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    sys.argv = [*argv]
