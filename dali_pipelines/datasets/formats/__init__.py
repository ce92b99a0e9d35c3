"""Formats of lists of videos, one module each.

To add a format `x`, write `x.py` here and change nothing else: a docstring whose first line describes the format, and
the two functions of `ListFormat`. A list that no other format recognizes is `plain`.
"""

import importlib
import pkgutil
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

from configs.errors import UserError, printable
from dali_pipelines.store.storage import read_file, storage_of

MAX_BYTES = 2**30
"""Limit for a list; the largest official one has 50 MB."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to understand a list, the same for all its lines.

    Attributes:
        names: the videos, as written.
        labels: the class of each video, as written; None if the list has none.
        columns: columns of numbers, each either classes or frame counts.
        parts: whether the lines state times, and so name parts of videos.
    """

    names: Sequence[str]
    labels: Sequence[str | None] | None = None
    columns: tuple[Sequence[str], ...] = ()
    parts: bool = False


@dataclass(frozen=True, kw_only=True)
class Lists:
    """The contents of a list, or of a folder of lists.

    Attributes:
        entries: list name -> the ways to understand it, the best first. At least one list, which may be empty.
        class_names: the classes in their makers' order, if there is one; all labels are then among them.
    """

    entries: Mapping[str, Sequence[Reading]]
    class_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """A list, here or at a URL, or a folder of lists."""

    location: Path | str

    @property
    def path(self) -> Path:
        """The path; of a URL, only the name and the suffix mean something."""
        return Path(self.location)

    @cached_property
    def text(self) -> str:
        """The text of the file. Bytes that are not UTF-8 are kept, as Python keeps them in file names.

        UserError if it cannot be read, is not text, or is larger than MAX_BYTES.
        """
        try:
            size = storage_of(self.location).size(str(self.location))
            data = read_file(self.location).tobytes() if size <= MAX_BYTES else b"\0"
        except OSError as error:
            raise self.unreadable(error.strerror or str(error)) from error
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            text = data.decode("utf-16", "replace")
        else:
            text = data.decode("utf-8-sig", "surrogateescape")
        if "\0" in text:
            raise self.unreadable("it is not text")
        return text

    @cached_property
    def lines(self) -> list[str]:
        """The nonempty lines, stripped."""
        lines = (line.strip() for line in re.split(r"[\r\n]+", self.text))
        return [line for line in lines if line]

    @property
    def is_folder(self) -> bool:
        """Whether it is a folder."""
        return self.path.is_dir()

    def find(self, *names: str) -> "Source | None":
        """Return the first of these files in the folder, or None."""
        return next((Source(self.path / name) for name in names if (self.path / name).is_file()), None)

    def error(self, line: object, expected: str) -> UserError:
        """Return the error for a line that is not what a format expects."""
        return UserError(f"{self.location}: {printable(expected, 300)}, and not {printable(str(line), 120)!r}")

    def unreadable(self, reason: str) -> UserError:
        """Return the error for a list that cannot be read at all."""
        return UserError(f"cannot read the list of videos {str(self.location)!r}: {reason}")


class ListFormat(Protocol):
    """Functions that a module of this package provides."""

    def recognizes(self, source: Source) -> bool:
        """Tell whether a file or folder is of this format, by its content."""
        ...

    def read(self, source: Source) -> Lists:
        """Read its lists; a UserError quotes the line that cannot be read."""
        ...


def format_names() -> list[str]:
    """Return the names of the formats, `plain` last."""
    return sorted((module.name for module in pkgutil.iter_modules(__path__)), key=lambda name: (name == "plain", name))


def list_format(name: str) -> ListFormat:
    """Return the format with this name."""
    return cast(ListFormat, importlib.import_module(f"{__name__}.{name}"))


def describe_formats() -> dict[str, str]:
    """Return name -> one-line description."""
    return {name: (cast(Any, list_format(name)).__doc__ or "").partition("\n")[0] for name in format_names()}


def read_lists(list_file: Path | str) -> Lists:
    """Read a file, a folder, or a file at a URL with the first format that recognizes it; UserError if that fails."""
    source = Source(list_file)
    return next(of for of in map(list_format, format_names()) if of.recognizes(source)).read(source)


def is_number(text: str) -> bool:
    """Tell whether a text is an integer, as class ids and counts are."""
    return text.isascii() and text.removeprefix("-").isdecimal()
