"""Formats of lists of videos, one module each.

To add a format `x`, write `x.py` here with two functions and change nothing else:

* `recognizes(path)` tells whether a file or folder is of this format;
* `read(path)` returns its `Lists`; UserError when it cannot be read, which quotes the line.

What no other format recognizes is `plain`.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol, cast

from configs.errors import UserError
from dali_pipelines.store.storage import local_copy


class Reading(NamedTuple):
    """One way to understand an entry of a list: the video's name, and its label as the list has it."""

    name: str
    label: str | None = None


Entry = tuple[Reading, ...]
"""A video of a list: the ways to understand it, the best first."""


@dataclass(frozen=True, kw_only=True)
class Lists:
    """What a list says, or a folder of lists.

    Attributes:
        entries: the videos of each list, by the name of the list.
        labels: the class id of each video by its name, where the lists define the classes.
        class_names: the names of those classes.
    """

    entries: Mapping[str, Sequence[Entry]]
    labels: Mapping[str, int] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()


class ListFormat(Protocol):
    """What a module of this package provides."""

    def recognizes(self, path: Path) -> bool: ...
    def read(self, path: Path) -> Lists: ...


def format_names() -> list[str]:
    """Return the names of the formats, `plain` last."""
    return sorted((module.name for module in pkgutil.iter_modules(__path__)), key=lambda name: (name == "plain", name))


def list_format(name: str) -> ListFormat:
    """Return the format of that name."""
    return cast(ListFormat, importlib.import_module(f"{__name__}.{name}"))


def read_lists(list_file: Path | str) -> Lists:
    """Read a file or folder, or a file at a URL, in the first format that recognizes it."""
    with local_copy(list_file) as path:
        return next(of for of in map(list_format, format_names()) if of.recognizes(path)).read(path)


def text_lines(path: Path) -> list[str]:
    """Return the lines of a text file that are not empty, stripped; UserError when it cannot be read."""
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise UserError(f"cannot read the list of videos {str(path)!r}: {reason}") from error
    return [line for line in lines if line]
