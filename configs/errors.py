"""Errors that a user can fix, and how a command reports them."""

import errno
import importlib
import os
import re
import select
import signal
import sys
import time
import traceback
import unicodedata
from collections.abc import Callable, Sequence
from typing import NoReturn

REPORT_DELAY_S = 10
"""How long ranks other than 0 hold back their error: torchrun kills all ranks at the first exit."""

LIMITS = {
    errno.EMFILE: "raise the limit of the shell, `ulimit -n`",
    errno.ENOMEM: "raise the limit of the shell or the job, `ulimit -v`, or use fewer workers and smaller batches",
}
"""What to do when the system has no more of a resource."""

UNMAPPED = "failed to map segment from shared object"
"""What an ImportError says if the limit of address space leaves no room for a library, such as torch."""

DALI = "nvidia-dali-cuda130, which also runs without a GPU, or nvidia-dali-cuda120 beside a torch for CUDA 12"


class UserError(Exception):
    """An error that the user can fix. The message quotes the offending value and suggests the way out."""


def require(condition: bool, key: str, value: object, expected: str) -> None:
    """Raise ValueError "key = value must be expected" unless `condition`; `configs.load` adds where the key is."""
    if not condition:
        raise ValueError(f"{key} = {value!r} must be {expected}")


def shown(text: str) -> str:
    """Return text that is safe to print on one line of a terminal, control characters as "\\x1b" or "\\n".

    Letters of any script and spaces stay. A name may come from a stranger, who can put anything into it.
    """
    return "".join(
        letter
        if letter.isprintable() or unicodedata.category(letter) == "Zs"
        else letter.encode("unicode_escape").decode()
        for letter in text
    )


def printable(text: str, most: int = 240) -> str:
    """Return `shown` text, with the middle cut out if it is long."""
    return shown(text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}")


def first_names(names: Sequence[str], most: int = 3) -> str:
    """Return the first names for a message without room for all, and how many more there are: "a, b, c and 5 more"."""
    more = f" and {len(names) - most} more" * (len(names) > most)
    return ", ".join(map(printable, names[:most])) + more


def run_cli(main: Callable[[list[str]], int | None]) -> NoReturn:
    """Run `main(argv)` and exit with its status; report bad input in one line, with status 2.

    With `--debug` among the arguments, the traceback is shown too. Under torchrun, most bad input fails on every rank:
    ranks other than 0 wait, and report only if rank 0 has not ended the run by then. One that has lost a peer does not
    wait.
    """
    _open_streams()
    argv = sys.argv[1:]
    debug = "--debug" in argv
    try:
        _require_folder()
        _check_arguments(argv)
        try:
            status = main([arg for arg in argv if arg != "--debug"]) or 0
        except SystemExit:  # of argparse, which has printed the help
            sys.stdout.flush()
            raise
        sys.stdout.flush()  # here, where an error gets words
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends at once, even during cleanup
        print("interrupted", file=sys.stderr)
        status = 130
    except (UserError, OSError, MemoryError, ImportError, UnicodeEncodeError) as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            sys.exit(128 + signal.SIGPIPE)
        if debug or _is_a_bug(error):
            raise
        unnamed = isinstance(error, OSError) and error.errno and not error.filename  # of stdout, maybe
        message = f"cannot print the output: {error}" if unnamed and _output_is_lost() else _in_words(error)
        number, lines = os.environ.get("RANK", ""), "\n".join(map(shown, message.split("\n")))
        rank = int(number) if number.isdecimal() else 0  # which may be what the error is about
        if rank and not isinstance(error, ConnectionError):
            time.sleep(REPORT_DELAY_S)
        print(f"error: rank {rank}: {lines}" if rank else f"error: {lines}", file=sys.stderr, flush=True)
        status = 2
    sys.exit(status)


def _open_streams() -> None:
    """Discard what is written to a standard stream that was closed, as by `>&-`.

    Else the next file would get its number, and libraries would print into a checkpoint or a socket of the ranks.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            number = os.open(os.devnull, os.O_RDWR)  # the lowest that is free, which is the stream's
            os.set_inheritable(number, True)  # by workers
            setattr(sys, name, os.fdopen(number, mode))


def _require_folder() -> None:
    """Raise UserError if the current folder was removed: libraries then cannot find their own parts."""
    try:
        os.getcwd()
    except FileNotFoundError as error:
        raise UserError("the current folder is no longer there: cd to another one") from error


def _check_arguments(argv: Sequence[str]) -> None:
    """Raise UserError for a second --config, and for an empty argument: as a path, it means the current folder."""
    if sum(arg.partition("=")[0] == "--config" for arg in argv) > 1:
        raise UserError("--config is given twice, and recipes do not add up: give one, and its changes with --set")
    for before, arg in zip(("", *argv), argv, strict=False):
        option = arg if arg.startswith("--") else before
        if not arg or re.fullmatch("--[^=]+=", arg):
            after = f" after {option}" if option else ""
            raise UserError(f"an argument is empty{after}; if a shell variable stands there, it is not set")


def _is_a_bug(error: Exception) -> bool:
    if isinstance(error, UnicodeEncodeError):
        return error.encoding == "utf-8"
    return type(error) is ImportError and UNMAPPED not in str(error)


def _in_words(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):  # of a name, which Python writes as the locale tells it to
        letters = printable(error.object[error.start : error.end])
        return f"the encoding of this locale, {error.encoding}, has no {letters}: set PYTHONUTF8=1"
    if isinstance(error, OSError) and error.errno in LIMITS:
        return f"{error}: {LIMITS[error.errno]}"
    if isinstance(error, MemoryError):  # of Python or NumPy, which says how much it wanted
        return f"{str(error) or 'out of memory'}: {LIMITS[errno.ENOMEM]}"
    if isinstance(error, ModuleNotFoundError):
        return how_to_install(error)
    if isinstance(error, ImportError):
        (line,) = (line for line in str(error).splitlines() if UNMAPPED in line)  # NumPy writes a page around it
        return f"{line}: {LIMITS[errno.ENOMEM]}"
    if isinstance(error, OSError) and isinstance(error.filename, str | bytes):
        return f"{shown(os.fsdecode(error.filename))}: {error.strerror}"
    return str(error)


def _nobody_reads() -> bool:
    """Return whether the program that reads the output has ended, as `head` does; drop what is left to print."""
    output = select.poll()
    output.register(sys.stdout.fileno(), 0)
    if not output.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _output_is_lost() -> bool:
    """Return whether what was printed cannot be written, as to a file on a full disk; drop it then."""
    try:
        print(flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def how_to_install(error: ModuleNotFoundError) -> str:
    """Say what to install for a missing module, or which file imports it if its package is there."""
    name = (error.name or "").partition(".")[0]
    if name in sys.modules and name != "nvidia":  # which several packages share
        files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
        return f"{error}, which {next(file for file in reversed(files) if '<' not in file)} imports"
    return f"{error}; install {DALI if name == 'nvidia' else name} with pip: see docs/install.md"


def run_command(module: str) -> NoReturn:
    """Import a module and run its `main`, both by `run_cli`: Ctrl-C during the imports is handled too."""
    run_cli(lambda argv: importlib.import_module(module).main(argv))
