"""A file of any storage, or a part of one, as a file object for what reads by seeking: zipfile, tarfile, FFmpeg."""

import errno
import io
from typing import BinaryIO, cast

from dali_pipelines.store.storage import Span, is_url, storage_of

LOCAL_BUFFER = 2**16
REMOTE_BUFFER = 2**20
MOST_AT_ONCE = 2**30
"""Bytes of one read. The directory of a zip of ten million pictures has as many; more is asked for by damage alone."""

FARTHEST = 2**62
"""Where a damaged header may point and Python still seeks."""


class _Ranged(io.RawIOBase):
    def __init__(self, location: str, start: int, end: int) -> None:
        super().__init__()
        self._location, self._start, self._size, self._at = location, start, end - start, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, f"byte {base + offset} is before the beginning of the file")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # the buffer that BufferedReader hands
        length = max(0, min(len(buffer), self._size - self._at))
        if length:
            begin = self._start + self._at
            buffer[:length] = storage_of(self._location).read([Span(self._location, begin, begin + length)]).data
        self._at += length
        return length


class _Buffered(io.BufferedReader):
    """Asks for no more than there is: a damaged header may claim any number of bytes, which Python would allocate."""

    def __init__(self, raw: _Ranged, buffer_size: int, size: int) -> None:
        super().__init__(raw, buffer_size)
        self._size = size

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if abs(offset) > FARTHEST:
            raise ValueError(f"byte {offset} is beyond any file")
        return super().seek(offset, whence)

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self.tell())
        wanted = left if size is None or size < 0 else min(size, left)
        if wanted > MOST_AT_ONCE:
            raise ValueError(f"{wanted} bytes are to be read at once")
        return super().read(wanted)


def open_ranged(location: str, span: tuple[int, int] | None = None) -> BinaryIO:
    """Open a file for reading by ranges: nothing is held open between reads.

    Args:
        span: begin and end of the part of it that is the file; None: all of it.

    Raises:
        OSError: there is no such file; also of reads. ValueError, of a read beyond all sense.
    """
    start, end = span or (0, storage_of(location).size(location))
    buffer_size = REMOTE_BUFFER if is_url(location) else LOCAL_BUFFER
    return cast(BinaryIO, _Buffered(_Ranged(location, start, end), buffer_size, end - start))
