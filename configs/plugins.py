"""Find what a recipe names: an entry of a table here, or an object in a package of the user's."""

import importlib
import inspect
import os
import pkgutil
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TypeVar

from configs.errors import UserError, printable
from configs.nearest import nearest

T = TypeVar("T")

PLACE = "it must be installed, or the folder that holds it named in PYTHONPATH"
TRUST = "CLIPFEED_TRUST"
"""Environment variable that lists what other people's files may refer to: packages, folders, URLs; comma-separated."""

PARTS = {"data": ("Config", "plan", "program", "batch_schema"), "net": ("METRIC", "Config", "build")}
"""Names that `data` and `net` must define in a task of another package."""
CALLS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "data": {
        "plan": ("video", "rng", "cfg"),
        "program": ("cfg",),
        "batch_schema": ("cfg",),
        "min_frames": ("cfg",),
        "annotate": ("plan", "cfg"),
    },
    "net": {"build": ("backbone", "schema", "cfg")},
}
"""The functions that `data` and `net` have or may have, with what they are called with."""

_named: set[str] = set()
"""Packages that the user's own recipes have named."""


def trusted() -> list[str]:
    """Return what the user trusts, as in "my_pkg" and "/data/videos"."""
    return [name for name in os.environ.get(TRUST, "").split(",") if name]


def require_trusted(name: object, *, source: str) -> None:
    """Refuse a dotted name in a file that may be a stranger's: importing a module runs its code.

    Packages that the user's own recipes or CLIPFEED_TRUST name are trusted.
    """
    package = str(name).partition(".")[0]
    if "." in str(name) and package not in {*trusted(), *_named}:
        raise UserError(
            f"{source} names {printable(str(name))}, and importing that runs its code: if you trust the file and the "
            f"package, set {TRUST}={printable(package)}"
        )


def trust(name: object) -> None:
    """Trust the package of a dotted name that the user has named."""
    _named.add(str(name).partition(".")[0])


def import_task(name: str, *, package: str, part: str) -> ModuleType:
    """Import one side of a task: `package.name`, or `name.part` if the name has a dot.

    A task of another package is a folder with data.py, net.py and its recipes. UserError if there is no such module, it
    lacks one of `PARTS`, one of `CALLS` takes other arguments, or its `Config` cannot be one: settings are keys of
    caches.
    """
    dotted = "." in name and "/" not in name
    module = None if name.startswith("_") else _import(f"{name}.{part}" if dotted else f"{package}.{name}")
    if module is not None:
        if dotted and (missing := [word for word in PARTS[part] if not hasattr(module, word)]):
            raise UserError(f"{module.__file__} lacks {', '.join(missing)}, which a task needs: see docs/extending.md")
        if dotted and not getattr(getattr(module.Config, "__dataclass_params__", None), "frozen", False):
            raise UserError(
                f"{module.__file__}: Config must be a frozen dataclass: put @dataclass(frozen=True) above it"
            )
        for function, takes in CALLS[part].items() if dotted else ():
            if hasattr(module, function):
                require_takes(getattr(module, function), function, takes, f"{module.__file__}: {function}")
        return module
    if dotted:
        raise UserError(f"task {name!r}: cannot import {name}.{part}; {PLACE}, with data.py and net.py in it")
    names = sorted(found.name for found in pkgutil.iter_modules(importlib.import_module(package).__path__))
    raise UserError(f"no task {name!r}{nearest(name, names)}; there are: {', '.join(names)}")


def look_up(name: str, table: Mapping[str, T], *, key: str, takes: Sequence[str] | None = None) -> T:
    """Return an entry of a table, or import a dotted name such as `my_pkg.module.function`.

    UserError for an unknown name, with the valid ones, and for a dotted name that does not exist, or cannot be called
    with as many arguments as `takes` names. It begins with the recipe's `key`, such as "optim.name".
    """
    if name in table:
        return table[name]
    if "." not in name:
        raise UserError(f"{key}: no {name!r}{nearest(name, [*table])}; there are: {', '.join(table)}")
    path, _, attribute = name.rpartition(".")
    module = _import(path)
    if module is None:
        raise UserError(f"{key}: cannot import {path} of {name!r}; {PLACE}")
    if not hasattr(module, attribute) and not _import(name):  # a module, if it is one, is refused below
        raise UserError(f"{key}: {path} has no {attribute!r}{nearest(attribute, dir(module))}")
    found: T = getattr(module, attribute)
    if not callable(found):
        raise UserError(f"{key}: {name} is of type {type(found).__name__}; give a function or class")
    if takes is not None:
        require_takes(found, attribute, takes, f"{key}: {name}")
    return found


def require_takes(function: object, name: str, takes: Sequence[str], who: str) -> None:
    """Check that a function can be called with the arguments `takes`; else UserError, which begins with `who`."""
    try:
        inspect.signature(function).bind(*takes)  # type: ignore[arg-type]  # or else this is a TypeError
    except TypeError as error:
        called = f"{name}({', '.join(takes)})"
        raise UserError(f"{who} is called as {called}, and does not fit that: {error}") from None
    except ValueError:  # some functions written in C do not say what they take
        pass


def _import(name: str) -> ModuleType | None:
    """Import a module; return None if it does not exist. Errors inside it are raised."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and f"{name}.".startswith(f"{error.name}."):
            return None
        raise
