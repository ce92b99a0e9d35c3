"""Paths in a recipe, read as a shell reads them."""

import os
import re
from collections.abc import Callable
from typing import Any

from configs.errors import UserError

PATHS = ("work_dir", "data.root", "data.list", "data.test_list")
"""Keys of a recipe that hold a path."""

FOLDERS = ("work_dir", "data.root")
"""Those that must not be empty, as an unset shell variable would make them."""

VARIABLE = re.compile(r"\$(?:\w+|\{\w+\})")


def expand_paths(tree: dict[str, Any], locate: Callable[[str], str]) -> None:
    """Expand ~ and $VARIABLES in the paths of a recipe; `locate` tells UserError where a key is."""
    for key in PATHS:
        section, _, name = key.rpartition(".")
        place = tree.get(section) if section else tree
        if isinstance(place, dict) and isinstance(place.get(name), str):
            if not place[name] and key in FOLDERS:
                raise UserError(f"{locate(key)}: expected a folder, got ''")
            try:
                place[name] = expanded(place[name])
            except UserError as error:
                raise UserError(f"{locate(key)}: {error}") from None


def expanded(path: str) -> str:
    """Expand a leading ~ and $VARIABLES as a shell does; URLs and existing paths do not change.

    UserError for an unset variable or an unknown user, which would otherwise name a new folder, and for a NUL.
    """
    if "\0" in path:
        raise UserError(f"{path!r}: a path cannot hold the character NUL")
    if "://" in path or os.path.lexists(path):
        return path
    unset = [name for name in VARIABLE.findall(path) if name.strip("${}") not in os.environ]
    if unset:
        raise UserError(f"{path!r}: {unset[0]} is not set; set it, or write the path out")
    home = os.path.expanduser(path)
    if home.startswith("~"):
        raise UserError(f"{path!r}: there is no user {home.partition('/')[0][1:]}; a folder of that name is ./{path}")
    return os.path.expandvars(home)
