"""Errors that a user can mend, and how a command shows them."""

import os
import sys
import time
from collections.abc import Callable
from typing import NoReturn


class UserError(Exception):
    """Something that the user can mend. The message names the thing, quotes its value and says the way out."""


def run_cli(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Runs `main(argv)` and exits with its status; bad input ends in one line and status 2.

    `--debug` anywhere in the arguments shows the traceback as well. Under torchrun every rank meets the same
    bad input, so rank 0 alone speaks.
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
        if int(os.environ.get("RANK", "0")) == 0:
            print(f"error: {error}", file=sys.stderr, flush=True)
        else:
            time.sleep(3)  # torchrun ends all ranks at the first exit: let rank 0 speak before that
        status = 2
    sys.exit(status)
