"""Files at URLs of any scheme that fsspec knows: http, s3, gs, az, sftp, hf ...

Keys, endpoints and other options come from fsspec's own configuration (docs/remote.md).
"""

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
from fsspec.archive import AbstractArchiveFileSystem
from fsspec.spec import AbstractFileSystem
from numpy.typing import NDArray

from configs.errors import UserError
from dali_pipelines.store.remote_errors import Failure, NoRangesError, ShortError, failure_of

if TYPE_CHECKING:  # it imports this module
    from dali_pipelines.store.storage import Span

TIMEOUT_SECONDS = 10.0
"""How long a server may stay silent."""
PAUSES = (0.2, 1.0, 4.0)
"""Seconds to wait before each retry of a request that failed for a passing cause."""
SILENT = 3
"""Consecutive unanswered reads after which a server counts as down: none is tried for `TIMEOUT_SECONDS`."""
GAP = 2**17
"""Most bytes between two spans of one request: reading more takes longer than a second request."""
CONNECTIONS = 64
"""Per process, at once."""
WEB_PAGE = "text/html"

SAME = {"https": "http", "s3a": "s3"}
Request = tuple[str, int, int]
"""A location, and start and end of its bytes."""
Ask = Callable[[AbstractFileSystem, list[Request]], list[Any]]


class RemoteFiles:
    """Files of one scheme; UserError if fsspec does not know it or a package is missing."""

    def __init__(self, scheme: str) -> None:
        self.scheme = SAME.get(scheme, scheme)
        self._options_in = _class_of(self.scheme)._get_kwargs_from_urls
        """URL -> the options in it, such as the host of sftp://."""
        self._silent: dict[str, tuple[int, float]] = {}
        """Server -> its number of consecutive unanswered reads, and when the last one failed."""

    def size(self, location: str) -> int:
        """See `Storage.size`."""
        info = self.info(location)
        if info.get("mimetype") == WEB_PAGE:  # many servers answer so for what they lack, or ask for a login
            raise FileNotFoundError(errno.ENOENT, "its server sends a web page instead: check the address", location)
        if info.get("size") is None:
            text = "its server does not tell the file's size: use another one, or copy the files"
            raise OSError(errno.EOPNOTSUPP, text, location)
        return int(info["size"])

    def info(self, location: str) -> dict[str, Any]:
        """Return what fsspec tells about a file or folder: its type, size, time ...; OSError as in `ask`."""
        info: dict[str, Any] = self.ask(location, lambda fs: fs.info(fs._strip_protocol(location)))
        return info

    def read(self, spans: Sequence["Span"]) -> NDArray[np.uint8]:
        """See `Storage.read`. Requests run concurrently; nearby spans share one."""
        blocks = list(blocks_of(spans))
        requests = [(block[0].location, block[0].start, block[-1].end) for block in blocks]
        parts = self._persist(requests, _read) if requests else []
        data = np.empty(sum(span.end - span.start for span in spans), np.uint8)
        at = 0
        for block, part in zip(blocks, parts, strict=True):
            whole = np.frombuffer(part, np.uint8)
            for _, start, end in block:
                data[at : at + end - start] = whole[start - block[0].start : end - block[0].start]
                at += end - start
        return data

    def ask(self, location: str, question: Callable[[AbstractFileSystem], Any]) -> Any:
        """Ask a location's file system a question, with retries; OSError if it does not answer."""
        (answer,) = self._persist([(location, 0, 0)], lambda fs, _: [question(fs)])
        return answer

    def _persist(self, requests: list[Request], ask: Ask) -> list[Any]:
        """Return the answer to each request; retry those that fail for a passing cause.

        OSError, naming the URL, if one failed for good, or too often.
        """
        server = "/".join(requests[0][0].split("/", 3)[:3])
        silent, since = self._silent.get(server, (0, 0.0))
        if silent >= SILENT and time.monotonic() < since + TIMEOUT_SECONDS:
            text = "its server did not answer for the last files either: check the address and the network"
            raise OSError(errno.EHOSTUNREACH, text, requests[0][0])
        answers = dict.fromkeys(range(len(requests)))
        missing = list(answers)
        for pause in (0.0, *PAUSES)[: 1 if silent else None]:
            time.sleep(pause)
            failures: dict[int, Failure] = {}
            try:
                fs = filesystem(self.scheme, **self._options_in(requests[0][0]))
                found = ask(fs, [requests[number] for number in missing])
            except Exception as error:
                found = [error] * len(missing)
            for number, answer in zip(missing, found, strict=True):
                if isinstance(answer, Exception):
                    failures[number] = failure_of(answer, requests[number][0], requests[number][2])
                else:
                    answers[number] = answer
            missing = list(failures)
            if not missing:
                self._silent.pop(server, None)
                return list(answers.values())
            for failure in failures.values():
                if not failure.passing:
                    raise failure.error
        last = failures[missing[0]]
        self._silent[server] = (0 if last.answered else silent + 1), time.monotonic()
        raise last.error


def _read(fs: AbstractFileSystem, requests: list[Request]) -> list[bytes | Exception]:
    """Read the bytes of each request, or return its exception."""
    paths = [fs._strip_protocol(location) for location, _, _ in requests]
    starts, ends = [start for _, start, _ in requests], [end for _, _, end in requests]
    parts: list[bytes | Exception] = fs.cat_ranges(paths, starts, ends)
    for number, (part, start, end) in enumerate(zip(parts, starts, ends, strict=True)):
        if not isinstance(part, Exception) and len(part) != end - start:
            parts[number] = ShortError() if len(part) < end - start else NoRangesError()
    return parts


def blocks_of(spans: Sequence["Span"]) -> Iterator[list["Span"]]:
    """Yield groups of spans that one request reads: neighbors in one file. Empty spans are dropped."""
    block: list[Span] = []
    for span in spans:
        if span.start == span.end:
            continue
        if block and not (span.location == block[-1].location and 0 <= span.start - block[-1].end <= GAP):
            yield block
            block = []
        block.append(span)
    if block:
        yield block


def remote(location: str) -> RemoteFiles:
    """Return the files of a URL's scheme; UserError as in `RemoteFiles`."""
    try:
        return _remote(location.partition("://")[0])
    except UserError as error:
        raise UserError(f"{location}: {error}") from error


_remote = lru_cache(RemoteFiles)


def filesystem(scheme: str, **options: Any) -> AbstractFileSystem:
    """Return fsspec's file system for a scheme, with options from a URL; UserError as `_class_of` raises it.

    Each process makes its own. Its threads share it where that is safe.
    """
    of_its_own = 0 if _class_of(scheme).async_impl else threading.get_ident()
    return _filesystem(scheme, os.getpid(), of_its_own, tuple(sorted(options.items())))


def _class_of(scheme: str) -> type[AbstractFileSystem]:
    """Return fsspec's class for a scheme; UserError if there is none, its package is missing, or it reads archives."""
    try:
        found: type[AbstractFileSystem] = fsspec.get_filesystem_class(scheme)
    except ValueError as error:
        raise UserError(f"there is no storage for {scheme}://, only for what fsspec knows: http, s3, gs ...") from error
    except ImportError as error:
        package = getattr(error.__cause__, "name", None) or "clipfeed[remote]"
        raise UserError(f"a package for {scheme}:// is missing: pip install {package}") from error
    if issubclass(found, AbstractArchiveFileSystem):
        raise UserError("give the path or URL of the archive itself: its videos are found")
    return found


@lru_cache
def _filesystem(scheme: str, process: int, thread: int, options: tuple[tuple[str, Any], ...]) -> AbstractFileSystem:
    """Make a file system; fsspec's configuration overrides our settings."""
    given = fsspec.config.conf.get(scheme, {})
    ours = {name: values | given.get(name, {}) for name, values in _settings(scheme).items()}
    try:
        return fsspec.filesystem(scheme, skip_instance_cache=True, **ours, **dict(options))
    except TypeError as error:  # an option without a default
        raise ValueError(f"{scheme}:// needs options, see docs/remote.md ({error})") from None


def _settings(scheme: str) -> dict[str, dict[str, Any]]:
    if scheme == "s3":
        limits = {"connect_timeout": TIMEOUT_SECONDS, "read_timeout": TIMEOUT_SECONDS}
        return {"config_kwargs": {**limits, "max_pool_connections": CONNECTIONS, "retries": {"total_max_attempts": 1}}}
    if scheme != "http":
        return {}
    import aiohttp

    watch = aiohttp.TraceConfig()
    watch.on_request_end.append(_refuse_whole)
    silence = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_SECONDS, sock_read=TIMEOUT_SECONDS)
    as_stored = {"Accept-Encoding": "identity"}  # a range of compressed bytes is of no use
    return {"client_kwargs": {"timeout": silence, "trace_configs": [watch], "headers": as_stored}}


async def _refuse_whole(_session: Any, _context: Any, request: Any) -> None:
    """Raise NoRangesError, before the file is transferred, if a server sends more than the range."""
    start, _, end = request.headers.get("Range", "").removeprefix("bytes=").partition("-")
    whole = request.response.status == 200 and start
    if whole and (start != "0" or request.response.content_length != int(end) + 1):
        raise NoRangesError
