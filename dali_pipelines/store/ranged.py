"""A file of any storage, or a part of one, as a seekable file object for zipfile, tarfile and FFmpeg."""

import errno
import os
from typing import BinaryIO, cast

from fsspec.spec import AbstractBufferedFile

from dali_pipelines.store.storage import Span, is_url, storage_of

LOCAL_BUFFER = 2**16
REMOTE_BUFFER = 2**20
MAX_READ_BYTES = 2**30
"""Bytes of one read. The directory of a zip of ten million pictures has as many; only damage asks for more."""


class _Ranged(AbstractBufferedFile):  # type: ignore[misc]  # fsspec has no types
    def __init__(self, location: str, start: int, end: int) -> None:
        buffer_size = REMOTE_BUFFER if is_url(location) else LOCAL_BUFFER
        super().__init__(None, location, block_size=buffer_size, size=end - start)
        self._first = start

    def seek(self, loc: int, whence: int = os.SEEK_SET) -> int:
        try:
            return int(super().seek(loc, whence))
        except ValueError as error:  # zipfile expects what files of the system raise
            raise OSError(errno.EINVAL, str(error)) from error

    def _fetch_range(self, start: int, end: int) -> bytes:
        if end - start > MAX_READ_BYTES:
            raise ValueError(f"{end - start} bytes are to be read at once")
        span = Span(self.path, self._first + start, self._first + end)
        return storage_of(self.path).read([span]).tobytes()


def open_ranged(location: str, span: tuple[int, int] | None = None) -> BinaryIO:
    """Open a file for reading by ranges: nothing is held open between reads.

    Args:
        span: begin and end of the part of it that is the file; None: all of it.

    Raises:
        OSError: there is no such file; also of reads. ValueError: of a read that only damage asks for.
    """
    return cast(BinaryIO, _Ranged(location, *(span or (0, storage_of(location).size(location)))))
