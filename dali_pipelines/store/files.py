"""File names of the store, and writes that never leave a half-written file."""

import csv
import errno
import fcntl
import hashlib
import io
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from configs.errors import UserError

VIDEO_SUFFIXES = (
    *(".264", ".265", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264"),
    *(".h265", ".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv"),
    *(".xvid", ".y4m"),
)

VIDEO_FOLDER, SHARD_FOLDER, PART_FOLDER = "videos", "shards", "parts"
"""Folders that `prepare` writes into a dataset, and never reads as sources."""

INDEX_FILE = "index.npz"
"""What loaders read."""
JOURNAL_FILE = "prepare.jsonl"
"""What `prepare` resumes from."""

TEMPORARY = ".clipfeed-{}.part"
"""Name of an unfinished file, with a hash of its final name."""
MAX_NAME_BYTES = 255
"""Most bytes of a name on common file systems."""


def video_path(root: Path, name: str) -> Path:
    """Return the path of the prepared video `name` of the dataset `root`.

    A name too long for the file system is cut, with a hash to keep it unique.
    """
    folder, slash, last = name.rpartition("/")
    if len(os.fsencode(last)) > MAX_NAME_BYTES - len(".mp4"):
        end = f"-{_digest(last)}"
        while len(os.fsencode(last + end)) > MAX_NAME_BYTES - len(".mp4"):
            last = last[:-1]
        last += end
    return root / VIDEO_FOLDER / f"{folder}{slash}{last}.mp4"


def temporary_path(path: Path) -> Path:
    """Return the path to which `replacing` first writes, with a name that no user would choose."""
    return path.with_name(TEMPORARY.format(_digest(path.name)))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Replace a file in one step: yield a temporary file next to `path`, which takes its place at the end.

    If the block raises, the temporary file is removed. The data is flushed to disk before the rename. A second process
    that writes the same path waits for the first. OSError if the file cannot be written, as on a full disk. It names
    `path`, as do OSErrors of the block that name no file; if the block reads other files, its errors must name them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        descriptor = _locked(temporary)
        try:
            yield temporary
            sync(temporary)
            os.replace(temporary, path)
        except BaseException:  # only then: once it is renamed, the next writer may have a file of this name
            with suppress(OSError):  # if the disk is no longer writable, the first error is the one to report
                temporary.unlink(missing_ok=True)
            raise
        finally:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child forked meanwhile has the descriptor too
            os.close(descriptor)
    except OSError as error:
        if error.filename is None or str(temporary) in (error.filename, error.filename2):
            raise named(error, path) from error
        raise


def _locked(path: Path) -> int:
    """Create a file for this process alone, or wait for another one that has it; return its descriptor.

    A file that a dead process left is taken over.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # the other process has renamed or removed it


def write_file(path: Path, content: str | bytes) -> None:
    """Write a whole file, or leave the existing one; text as UTF-8. Errors as in `replacing`."""
    with replacing(path) as temporary:
        temporary.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogateescape"))


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write a whole JSON file, a key a line, as in `write_file`."""
    write_file(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a whole CSV file, header first, as in `write_file`; names that are not UTF-8 keep their bytes."""
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_file(path, text.getvalue())


class Appended:
    """A file, created if missing, to which data is appended entirely or not at all; its size is in bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path.open("a+b", buffering=0)
        self.size = self.file.tell()

    def truncate(self, size: int) -> None:
        """Drop all but the first `size` bytes."""
        self.size = size
        self.add(b"")

    def add(self, data: bytes) -> None:
        """Append all of `data` or nothing; OSError, naming the file, if it cannot be written."""
        left = memoryview(data)
        try:
            self.file.truncate(self.size)  # drops a failed write that could not be undone
            while left:
                left = left[self.file.write(left) :]
        except OSError as error:
            with suppress(OSError):
                self.file.truncate(self.size)
            raise named(error, self.path) from error
        self.size += len(data)

    def close(self) -> None:
        self.file.close()


def cannot_write(path: Path, error: OSError) -> UserError:
    """Return the error for a file that a command could not write, if the command can be resumed."""
    return UserError(f"cannot write {path}: {error.strerror}; the same command continues")


def named(error: OSError, path: Path) -> OSError:
    """Return an error of the same kind that names `path`."""
    return OSError(error.errno or errno.EIO, error.strerror or str(error), str(path))


def sync(path: Path) -> None:
    """Flush a file, or a folder's entries, to disk; an OSError names it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        raise named(error, path) from error
    finally:
        os.close(descriptor)


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def is_video_name(name: str) -> bool:
    """Tell whether a name ends in the suffix of a video file."""
    return name.lower().endswith(VIDEO_SUFFIXES)
