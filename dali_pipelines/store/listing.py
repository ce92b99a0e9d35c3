"""Find what a path or URL holds without opening any file: opening a pipe would block."""

import os
import re
import stat
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from configs.errors import UserError
from dali_pipelines.store.remote import WEB_PAGE, RemoteFiles, remote
from dali_pipelines.store.storage import is_url, is_web, storage_of, unquoted

BRACES = re.compile(r"\{([^{}]*)\}")
NUMBERS = re.compile(r"([0-9]+)\.\.([0-9]+)")
MAX_FILES = 10**6
QUERY = re.compile("[?#]")
"""Marks links that sort a folder's page."""
_KINDS = {"d": "folder", "p": "pipe", "s": "socket", "b": "device", "c": "device"}
"""First letter of a mode as `ls -l` prints it -> kind; any other is a file."""


class Entry(NamedTuple):
    """A name in a folder: a "file", a "folder", a "pipe", "socket" or "device", or a "broken link"."""

    name: str
    kind: str
    linked: bool = False


def list_folder(location: str) -> list[Entry]:
    """List a folder, sorted by name; on a web server, what its page links to.

    A link has the kind of its target. OSError if the folder cannot be read.
    """
    if is_url(location):
        return _list_url(location)
    with os.scandir(location) as found:
        return sorted(Entry(entry.name, _kind(entry), entry.is_symlink()) for entry in found)


def _list_url(url: str) -> list[Entry]:
    base = url.rstrip("/") + "/"
    if is_web(base):
        links = [link for link in remote(url).ask(url, lambda fs: fs.ls(base)) if link["name"].startswith(base)]
        kinds = {link["name"]: link["type"] for link in links if not QUERY.search(link["name"])}
        found = {unquoted(name.removeprefix(base)): kind for name, kind in kinds.items()}
    else:
        infos = remote(url).ask(url, lambda fs: fs.ls(fs._strip_protocol(base), detail=True))
        # Programs mark a folder in a bucket with a file whose name ends in a slash.
        kinds = {info["name"]: info["type"] for info in infos if info["type"] == "directory" or info["name"][-1] != "/"}
        found = {name.rstrip("/").rpartition("/")[2]: kind for name, kind in kinds.items()}
    names = {name.rstrip("/"): "folder" if kind == "directory" else "file" for name, kind in found.items()}
    return [Entry(*item) for item in sorted(names.items()) if item[0] not in ("", ".", "..") and "/" not in item[0]]


def _kind(entry: "os.DirEntry[str]") -> str:
    """Return the kind of an entry; for files and folders, `os.scandir` already knows it."""
    if entry.is_file(follow_symlinks=False):
        return "file"
    return "folder" if entry.is_dir(follow_symlinks=False) else kind(entry.path)


def kind(location: str) -> str:
    """Return the kind of a path or URL, as in `Entry`; "" if nothing is there. OSError if a server does not say.

    On a web server, a URL that returns a page is a folder.
    """
    if is_url(location):
        try:
            info = {"type": "directory"} if location.endswith("/") else _info(location)
        except FileNotFoundError:
            return ""
        return "folder" if info["type"] == "directory" or info.get("mimetype") == WEB_PAGE else "file"
    try:
        mode = os.stat(location).st_mode
    except OSError:
        return "broken link" if os.path.islink(location) else ""
    return _KINDS.get(stat.filemode(mode)[0], "file")


def size_and_time(url: str) -> tuple[int, int]:
    """Return a file's size in bytes and modification time: nanoseconds since 1970, 0 if the server does not say.

    OSError if there is no such file.
    """
    info = _info(url)
    changed = info.get("Last-Modified") or info.get("LastModified") or info.get("mtime")
    try:
        time = parsedate_to_datetime(changed) if isinstance(changed, str) else changed
    except ValueError:
        time = None
    seconds = time.timestamp() if isinstance(time, datetime) else float(time or 0)
    return int(info["size"] or 0), int(seconds * 1e9)


def expand(url: str) -> list[str]:
    """Expand braces and `*` in a URL to the files they match: `shards/{000..127}.tar`, `{a,b}.tar`, `*.tar`.

    Other URLs are returned as they are. UserError if there are no files, or too many.
    """
    urls = _braces(url)
    if "*" not in url:
        return urls
    found = [match for pattern in urls for match in _matches(pattern)]
    if not found:
        raise UserError(f"{url}: there are no such files")
    return found


def _matches(pattern: str) -> list[str]:
    (stripped, found) = remote(pattern).ask(pattern, lambda fs: (path := fs._strip_protocol(pattern), fs.glob(path)))
    # fsspec's paths lack the scheme, and maybe the host.
    begin = pattern.removesuffix(stripped) if pattern.endswith(stripped) else f"{pattern.partition('://')[0]}://"
    return sorted(begin + path for path in found)


def _braces(text: str) -> list[str]:
    parts: Sequence[str] | None = None
    for match in BRACES.finditer(text):
        if numbers := NUMBERS.fullmatch(match[1]):
            first, last = numbers.groups()
            if int(last) - int(first) >= MAX_FILES:
                raise UserError(f"{text}: its braces name more than {MAX_FILES} files")
            parts = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
        elif "," in match[1]:
            parts = match[1].split(",")
        if parts:
            tails = _braces(text[match.end() :])
            if len(parts) * len(tails) > MAX_FILES:
                raise UserError(f"{text}: its braces name more than {MAX_FILES} files")
            return [f"{text[: match.start()]}{part}{tail}" for part in parts for tail in tails]
    return [text]


def _info(url: str) -> dict[str, Any]:
    storage = storage_of(url)
    if not isinstance(storage, RemoteFiles):  # schemes in `STORAGES` have no folders
        return {"type": "file", "size": storage.size(url)}
    return storage.info(url)
