"""Translate exceptions of network libraries to OSErrors that name the URL, and tell whether to retry."""

import asyncio
import errno
from collections.abc import Iterator
from dataclasses import dataclass

DENIED = (401, 403)
PASSING = (408, 429)
"""HTTP statuses worth a retry, besides 500 and above."""
WITHOUT_KEYS = ("NoCredentialsError", "PartialCredentialsError", "TokenRetrievalError")
"""Exceptions of botocore, which is not always installed."""
KEYS = "give keys as docs/remote.md says"


class NoRangesError(Exception):
    """A server sends a whole file instead of the requested range."""


class ShortError(Exception):
    """A file ends before the requested bytes."""


@dataclass(frozen=True)
class Failure:
    """Why a request failed, naming the URL; whether a retry may succeed; whether a server answered."""

    error: OSError
    passing: bool = False
    answered: bool = True


def failure_of(error: Exception, location: str, end: int = 0) -> Failure:
    """Translate the exception of a request for a file's bytes up to `end`."""
    causes = list(_causes(error))
    names = {type(cause).__name__ for cause in causes}
    status = next((status for cause in causes if (status := _status(cause))), 0)
    if status in DENIED or names.intersection(WITHOUT_KEYS):
        number = f" ({status})" * bool(status)
        return Failure(PermissionError(errno.EACCES, f"the server refuses it{number}: {KEYS}", location))
    if status == 416 or "ShortError" in names:
        return Failure(OSError(errno.EPROTO, f"it ends before byte {end}: prepare it again", location))
    if "NoRangesError" in names:
        text = "its server sends whole files, not ranges: use another one, such as nginx, or copy the files"
        return Failure(OSError(errno.EOPNOTSUPP, text, location))
    if status == 404 or (not status and isinstance(causes[-1], FileNotFoundError)):
        return Failure(FileNotFoundError(errno.ENOENT, "there is no such file or bucket", location))
    if status:
        text = f"its server answers {status} ({_text(causes[-1])})"
        return Failure(OSError(errno.EPROTO, text, location), passing=status >= 500 or status in PASSING)
    if isinstance(causes[-1], PermissionError | IsADirectoryError | NotImplementedError | TypeError | ValueError):
        return Failure(OSError(errno.EPROTO, _text(causes[-1]), location))
    if "TooManyRedirects" in names:
        return Failure(OSError(errno.ELOOP, "its server redirects without end: check the address", location))
    if "ClientPayloadError" in names:
        text = f"its server broke off in the middle: {_text(causes[-1])}"
        return Failure(OSError(errno.ECONNRESET, text, location), passing=True)
    if any(isinstance(cause, asyncio.TimeoutError) for cause in causes):
        text = "its server does not answer: check the address and the network"
        return Failure(TimeoutError(errno.ETIMEDOUT, text, location), passing=True, answered=False)
    text = f"its server cannot be reached: {_text(causes[-1])}"
    return Failure(ConnectionError(errno.EHOSTUNREACH, text, location), passing=True, answered=False)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and its chain of causes; the last one says most."""
    while error is not None:
        yield error
        error = error.__cause__


def _status(error: BaseException) -> int:
    """Return the HTTP status of an aiohttp or botocore exception, else 0."""
    response = getattr(error, "response", None)
    if isinstance(response, dict):
        return int(response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    status = getattr(error, "status", 0)
    return status if isinstance(status, int) else 0


def _text(error: BaseException) -> str:
    """Return an exception's message in one line."""
    said = getattr(error, "message", "") or getattr(error, "strerror", "") or str(error) or type(error).__name__
    return " ".join(str(said).split())
