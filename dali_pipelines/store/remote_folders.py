"""What a URL names that is no file: a folder, or several files by braces and wildcards."""

import re
from collections.abc import Sequence
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

from configs.errors import UserError
from dali_pipelines.store.remote import RemoteFiles, remote
from dali_pipelines.store.storage import is_web, storage_of

BRACES = re.compile(r"\{([^{}]*)\}")
NUMBERS = re.compile(r"([0-9]+)\.\.([0-9]+)")
MOST_FILES = 10**6
WEB_PAGE = "text/html"
QUERY = re.compile("[?#]")
"""In links of pages that sort a folder."""


class Listed(NamedTuple):
    """A name in a folder, and whether it is a folder itself."""

    name: str
    is_folder: bool


def is_folder(url: str) -> bool:
    """Tell whether a URL names a folder; of a web server, whether it sends a page. FileNotFoundError for neither."""
    if url.endswith("/"):
        return True
    info = _info(url)
    return info["type"] == "directory" or info.get("mimetype") == WEB_PAGE


def list_folder(url: str) -> list[Listed]:
    """Return what a folder holds, by name; of a web server, what its page links to. OSError when it cannot be read."""
    base = url.rstrip("/") + "/"
    if is_web(base):
        links = [link for link in remote(url).ask(url, lambda fs: fs.ls(base)) if link["name"].startswith(base)]
        kinds = {link["name"]: link["type"] for link in links if not QUERY.search(link["name"])}
        found = {unquote(name.removeprefix(base)): kind for name, kind in kinds.items()}
    else:
        infos = remote(url).ask(url, lambda fs: fs.ls(fs._strip_protocol(base), detail=True))
        # Programs mark a folder of a bucket by a file whose name ends in a slash.
        kinds = {info["name"]: info["type"] for info in infos if info["type"] == "directory" or info["name"][-1] != "/"}
        found = {name.rstrip("/").rpartition("/")[2]: kind for name, kind in kinds.items()}
    names = {name.rstrip("/"): kind == "directory" for name, kind in found.items()}
    return [Listed(*item) for item in sorted(names.items()) if item[0] not in ("", ".", "..") and "/" not in item[0]]


def size_and_time(url: str) -> tuple[int, int]:
    """Return the bytes of a file, and when it was changed last: nanoseconds since 1970, 0 if the server does not say.

    OSError when there is no such file.
    """
    info = _info(url)
    told = info.get("Last-Modified") or info.get("LastModified") or info.get("mtime")
    try:
        time = parsedate_to_datetime(told) if isinstance(told, str) else told
    except ValueError:
        time = None
    seconds = time.timestamp() if isinstance(time, datetime) else float(time or 0)
    return int(info["size"] or 0), int(seconds * 1e9)


def expand(url: str) -> list[str]:
    """Return the files that a URL with braces or `*` names: `shards/{000..127}.tar`, `{a,b}.tar`, `*.tar`.

    A URL without them stands for itself. UserError when there are none, or too many.
    """
    urls = _braces(url)
    if "*" not in url:
        return urls
    found = [match for pattern in urls for match in _matches(pattern)]
    if not found:
        raise UserError(f"{url}: there are no such files")
    return found


def _matches(pattern: str) -> list[str]:
    found: list[str] = remote(pattern).ask(pattern, lambda fs: fs.glob(fs._strip_protocol(pattern)))
    scheme = pattern.partition("://")[0]
    return sorted(path if "://" in path else f"{scheme}://{path.lstrip('/')}" for path in found)


def _braces(text: str) -> list[str]:
    parts: Sequence[str] | None = None
    for match in BRACES.finditer(text):
        if numbers := NUMBERS.fullmatch(match[1]):
            first, last = numbers.groups()
            if int(last) - int(first) >= MOST_FILES:
                raise UserError(f"{text}: its braces name more than {MOST_FILES} files")
            parts = [f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1)]
        elif "," in match[1]:
            parts = match[1].split(",")
        if parts:
            tails = _braces(text[match.end() :])
            if len(parts) * len(tails) > MOST_FILES:
                raise UserError(f"{text}: its braces name more than {MOST_FILES} files")
            return [f"{text[: match.start()]}{part}{tail}" for part in parts for tail in tails]
    return [text]


def _info(url: str) -> dict[str, Any]:
    storage = storage_of(url)
    if not isinstance(storage, RemoteFiles):  # of a scheme in `STORAGES`, which has no folders
        return {"type": "file", "size": storage.size(url)}
    info: dict[str, Any] = remote(url).ask(url, lambda fs: fs.info(fs._strip_protocol(url)))
    return info
