"""Make a process that a server has forked behave as a command."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def become_command(argv: Sequence[str], output: Path, *, anew: bool = False) -> None:
    """Turn this process of `multiprocessing` into a command with these arguments that prints to a file.

    The file is appended to unless `anew`. Such a process has a parent, with which its workers would end; a command has
    none.
    """
    with output.open("w" if anew else "a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    sys.argv = [*argv]
