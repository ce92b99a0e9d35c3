"""Errors that a user can mend, and how a command shows them."""

import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import NoReturn

SPEAK_AFTER = 10
"""Seconds that another rank than 0 waits with its error: torchrun ends all ranks at the first exit."""


class UserError(Exception):
    """Something that the user can mend. The message names the thing, quotes its value and says the way out."""


def require(holds: bool, key: str, value: object, wanted: str) -> None:
    """ValueError "key = value must be wanted" unless `holds`: for a config's own checks, see `configs.load`."""
    if not holds:
        raise ValueError(f"{key} = {value!r} must be {wanted}")


def first_names(names: Sequence[str], most: int = 3) -> str:
    """Return the first names for a message that has no room for all: "a, b, c ..."."""
    return ", ".join(names[:most]) + " ..." * (len(names) > most)


def run_cli(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Runs `main(argv)` and exits with its status; bad input ends in one line and status 2.

    `--debug` anywhere in the arguments shows the traceback as well. Under torchrun most bad input meets every
    rank: the others wait, and speak only if rank 0 has not ended the run by then.
    """
    argv = sys.argv[1:]
    debug = "--debug" in argv
    try:
        status = main([arg for arg in argv if arg != "--debug"]) or 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = 130
    except (UserError, OSError) as error:
        if debug:
            raise
        rank = int(os.environ.get("RANK", "0"))
        if rank:
            time.sleep(SPEAK_AFTER)
        print(f"error: rank {rank}: {error}" if rank else f"error: {error}", file=sys.stderr, flush=True)
        status = 2
    sys.exit(status)
