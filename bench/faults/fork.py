"""What a fork of a server has to do to be a command."""

import multiprocessing
import os
import sys
from collections.abc import Sequence
from pathlib import Path


def become_command(argv: Sequence[str], output: Path, *, anew: bool = False) -> None:
    """Have these arguments, no parent as commands have none, and print to a file, which is appended to unless `anew`.

    Whoever calls this is a process of `multiprocessing`: those have a parent, and their workers end with it.
    """
    with output.open("w" if anew else "a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    multiprocessing.process._parent_process = None  # type: ignore[attr-defined]
    sys.argv = [*argv]
