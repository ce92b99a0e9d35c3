"""Read byte ranges of files, local or at URLs of any service that offers sizes and ranges.

A *location* is a path or a URL. Schemes missing from `STORAGES` are left to fsspec. To add a storage, write its class
in a file of its own and add its schemes to `STORAGES`.
"""

import errno
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast
from urllib.parse import quote, unquote

import numpy as np
from fsspec.spec import AbstractBufferedFile
from numpy.typing import NDArray

from dali_pipelines.store.remote import remote


class Span(NamedTuple):
    """The bytes of a file from `start` to `end`."""

    location: str
    start: int
    end: int


class Storage(Protocol):
    """Access to files at locations. Each process makes its own."""

    def size(self, location: str) -> int:
        """Return a file's size in bytes; FileNotFoundError if it is missing."""
        ...

    def read(self, spans: Sequence[Span]) -> NDArray[np.uint8]:
        """Return the bytes of all spans, concatenated: uint8 (bytes,), writable.

        OSError if a file cannot be read or ends before a span does.
        """
        ...


class LocalFiles:
    """Files on this machine."""

    def size(self, location: str) -> int:
        """See `Storage.size`."""
        return os.stat(location).st_size

    def read(self, spans: Sequence[Span]) -> NDArray[np.uint8]:
        """See `Storage.read`."""
        for location, of_file in groupby(spans, key=lambda span: span.location):
            _require_long_enough(location, of_file)  # before allocating what an index claims
        data = np.empty(sum(span.end - span.start for span in spans), np.uint8)
        view, at = data.data, 0
        for location, of_file in groupby(spans, key=lambda span: span.location):
            file = os.open(location, os.O_RDONLY)
            try:
                for _, start, end in of_file:
                    while start < end:  # one read returns at most 2 GiB
                        got = os.preadv(file, [view[at : at + end - start]], start)
                        if got == 0:
                            raise _too_short(location, start, end)
                        start, at = start + got, at + got
            finally:
                os.close(file)
        return data


def _require_long_enough(location: str, spans: Iterable[Span]) -> None:
    size = _size_of_regular(location)
    if size < (end := max(span.end for span in spans)):
        raise _too_short(location, size, end)


def _size_of_regular(location: str) -> int:
    status = os.stat(location)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file", location)
    return status.st_size


def require_unchanged(spans: Iterable[Span]) -> None:
    """Raise OSError if a local file has another size than the span that begins with its first byte, its whole then."""
    for location, start, end in spans:
        if start == 0 < end != (size := _size_of_regular(location)):
            why = "it was replaced or changed since; prepare it again"
            raise OSError(errno.EIO, f"it has {size} bytes, and had {end} when it was prepared: {why}", location)


def _too_short(location: str, size: int, end: int) -> OSError:
    return OSError(errno.EIO, f"it ends at byte {size}, {end} are expected: prepare it again", location)


LOCAL = LocalFiles()
STORAGES: Mapping[str, Storage] = {}
"""URL scheme -> storage, where fsspec has none or a worse one."""
LOCAL_BUFFER = 2**16
REMOTE_BUFFER = 2**20
MAX_READ_BYTES = 2**30
"""Most bytes of one read: enough for a zip directory of ten million pictures. Only damaged files ask for more."""


def is_url(location: Path | str) -> bool:
    """Tell whether a location is a URL, not a path."""
    return "://" in str(location)


def is_web(location: Path | str) -> bool:
    """Tell whether a location is on a web server, where URLs quote file names."""
    return str(location).startswith(("http://", "https://"))


def location(text: Path | str) -> Path | str:
    """Convert user input to a location: a path, or the URL unchanged, since a path would lose a slash."""
    return text if is_url(text) else Path(text)


def exists(location: Path | str) -> bool:
    """Tell whether a file exists; OSError if the storage does not answer."""
    try:
        storage_of(location).size(str(location))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def joined(root: Path | str, path: str) -> str:
    """Join a root and a path below it; absolute paths and URLs are returned as they are."""
    if is_url(path) or os.path.isabs(path):
        return path
    if is_web(root):
        path = quoted(path)
    return f"{str(root).rstrip('/')}/{path}"


def quoted(path: str) -> str:
    """Quote a path for a web URL; bytes of names that are not UTF-8 keep their values."""
    return quote(path, errors="surrogateescape")


def unquoted(path: str) -> str:
    """Undo `quoted`."""
    return unquote(path, errors="surrogateescape")


def storage_of(location: Path | str) -> Storage:
    """Return the storage of a location; UserError for an unknown scheme."""
    if not is_url(location):
        return LOCAL
    scheme = str(location).partition("://")[0]
    return STORAGES[scheme] if scheme in STORAGES else remote(str(location))


def read_file(location: Path | str) -> NDArray[np.uint8]:
    """Read a whole file, uint8 (bytes,); OSError if that fails."""
    storage = storage_of(location)
    return storage.read([Span(str(location), 0, storage.size(str(location)))])


class _Ranged(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    """A part of a file as a seekable file object, for zipfile, tarfile and FFmpeg."""

    def __init__(self, location: str, start: int, end: int) -> None:
        buffer_size = REMOTE_BUFFER if is_url(location) else LOCAL_BUFFER
        super().__init__(None, location, block_size=buffer_size, size=end - start)
        self._first = start

    def seek(self, loc: int, whence: int = os.SEEK_SET) -> int:
        try:
            return int(super().seek(loc, whence))
        except ValueError as error:  # zipfile expects what ordinary files raise
            raise OSError(errno.EINVAL, str(error)) from error

    def _fetch_range(self, start: int, end: int) -> bytes:
        if end - start > MAX_READ_BYTES:
            raise ValueError(f"{end - start} bytes are to be read at once")
        span = Span(self.path, self._first + start, self._first + end)
        return storage_of(self.path).read([span]).tobytes()


def open_ranged(location: str, span: tuple[int, int] | None = None) -> BinaryIO:
    """Open a file, or its part from start to end of `span`, for reading by ranges; nothing stays open between reads.

    OSError if the file is missing; reads raise it too, and ValueError beyond MAX_READ_BYTES.
    """
    return cast(BinaryIO, _Ranged(location, *(span or (0, storage_of(location).size(location)))))


def merged(spans: Iterable[Span]) -> list[Span]:
    """Merge consecutive spans that touch."""
    joined_spans: list[Span] = []
    for span in spans:
        if joined_spans and (span.location, span.start) == (joined_spans[-1].location, joined_spans[-1].end):
            joined_spans[-1] = joined_spans[-1]._replace(end=span.end)
        else:
            joined_spans.append(span)
    return joined_spans
