"""Write video files with FFmpeg, completely or with an error."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import OutputContainer

from dali_pipelines.store.files import named


@contextmanager
def open_output(path: Path, container: str, options: Mapping[str, str]) -> Iterator[OutputContainer]:
    """Open a file for FFmpeg to write.

    Args:
        container: FFmpeg's name of the container.
        options: of its muxer.

    Raises:
        OSError: at the end of the block, when not all could be written. On its own, FFmpeg says nothing of a full disk.
    """
    with path.open("wb", buffering=0) as file:
        sink = _Sink(file.fileno())
        with av.open(sink, "w", format=container, options=dict(options)) as opened:
            yield opened
        if sink.error is not None:
            raise named(sink.error, path)


class _Sink:
    """A file for PyAV to write to. It keeps the first error, which PyAV may raise anywhere or nowhere."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        while left and self.error is None:
            try:
                left = left[os.write(self._descriptor, left) :]
            except OSError as error:
                self.error = error
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return os.lseek(self._descriptor, offset, whence)

    def tell(self) -> int:
        return os.lseek(self._descriptor, 0, os.SEEK_CUR)
