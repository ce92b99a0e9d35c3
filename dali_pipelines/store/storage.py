"""Where the bytes of a dataset lie: local files, or whatever else offers the size and ranges of a path.

To add a storage, write its class in a file of its own and name it in `STORAGES`.
"""

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError


class Storage(Protocol):
    """The files of one dataset. It travels to worker processes, so it must pickle.

    Paths count from the dataset's root; an absolute one stands for itself.
    """

    def size(self, path: str) -> int:
        """Return the bytes of a file; FileNotFoundError when there is none."""
        ...

    def read(self, path: str, ranges: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
        """Return the bytes from start to end of each range, one after the other: uint8 (bytes,), writable.

        Raises:
            OSError: the file cannot be read or ends before a range does.
        """
        ...


@dataclass(frozen=True)
class LocalFiles:
    """Files below a folder."""

    root: Path

    def size(self, path: str) -> int:
        """See `Storage.size`."""
        return os.stat(self.root / path).st_size

    def read(self, path: str, ranges: Sequence[tuple[int, int]]) -> NDArray[np.uint8]:
        """See `Storage.read`."""
        data = np.empty(sum(end - start for start, end in ranges), np.uint8)
        view, at = data.data, 0
        file = os.open(self.root / path, os.O_RDONLY)
        try:
            for start, end in ranges:
                while start < end:  # one read returns at most 2 GiB
                    got = os.preadv(file, [view[at : at + end - start]], start)
                    if got == 0:
                        raise OSError(errno.EIO, f"it ends at byte {start}, {end} are expected: prepare it again")
                    start, at = start + got, at + got
        finally:
            os.close(file)
        return data


STORAGES: Mapping[str, Callable[[str], Storage]] = {}
"""The storage of each scheme of a URL, made from the URL of a dataset's root."""


def is_url(root: Path | str) -> bool:
    """Tell whether a root is a URL and no folder."""
    return "://" in str(root)


def storage_of(root: Path | str) -> Storage:
    """Return the storage of a dataset: by the scheme of a URL, else local files."""
    if not is_url(root):
        return LocalFiles(Path(root))
    scheme = str(root).partition("://")[0]
    if scheme not in STORAGES:
        raise UserError(f"{root}: there is no storage for {scheme}://, only {', '.join(STORAGES) or 'local folders'}")
    return STORAGES[scheme](str(root))
