"""What a folder holds, told without opening anything: a pipe would never answer."""

import os
import stat
from collections.abc import Callable
from typing import NamedTuple

from dali_pipelines.store import remote_folders
from dali_pipelines.store.storage import is_url

_SPECIAL: dict[str, Callable[[int], bool]] = {
    "pipe": stat.S_ISFIFO,
    "socket": stat.S_ISSOCK,
    "device": lambda mode: stat.S_ISCHR(mode) or stat.S_ISBLK(mode),
}


class Entry(NamedTuple):
    """A name in a folder: a "file", a "folder", a "pipe", "socket" or "device", or a "broken link"."""

    name: str
    kind: str
    linked: bool = False


def list_folder(location: str) -> list[Entry]:
    """Return what a folder holds, by name; what a link leads to counts.

    Raises:
        OSError: it cannot be read.
    """
    if is_url(location):
        return [Entry(name, "folder" if folder else "file") for name, folder in remote_folders.list_folder(location)]
    with os.scandir(location) as found:
        return sorted(Entry(entry.name, _kind(entry), entry.is_symlink()) for entry in found)


def _kind(entry: "os.DirEntry[str]") -> str:
    """Return what `kind` does; of files and folders the system tells it along with the names."""
    if entry.is_file(follow_symlinks=False):
        return "file"
    return "folder" if entry.is_dir(follow_symlinks=False) else kind(entry.path)


def kind(path: str) -> str:
    """Return what `Entry.kind` says; "" where there is nothing. OSError when a server does not say."""
    if is_url(path):
        try:
            return "folder" if remote_folders.is_folder(path) else "file"
        except FileNotFoundError:
            return ""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return "broken link" if os.path.islink(path) else ""
    if stat.S_ISDIR(mode):
        return "folder"
    return next((word for word, test in _SPECIAL.items() if test(mode)), "file")
