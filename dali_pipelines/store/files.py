"""Names of files in the store, and atomic writes."""

import errno
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

VIDEO_SUFFIXES = (
    *(".264", ".265", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264"),
    *(".h265", ".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv"),
    *(".xvid", ".y4m"),
)

VIDEO_FOLDER, SHARD_FOLDER, PART_FOLDER = "videos", "shards", "parts"
"""Folders of a prepared dataset: what `prepare` writes into it and never takes for a source."""

NOT_WRITTEN = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG})
"""Errors of writing alone: a full disk or quota, a disk that cannot be written, a file larger than is allowed."""
TEMPORARY = ".clipfeed-{}.part"
"""Name of a file that is not finished, from a hash of its own name."""
LONGEST = 255
"""Bytes of a name on the common file systems."""


def video_path(root: Path, name: str) -> Path:
    """Return the path of the prepared video `name` of the dataset `root`.

    A name that is too long for a file is cut, and told from others by a hash.
    """
    folder, slash, last = name.rpartition("/")
    if len(os.fsencode(last)) > LONGEST - len(".mp4"):
        end = f"-{_digest(last)}"
        while len(os.fsencode(last + end)) > LONGEST - len(".mp4"):
            last = last[:-1]
        last += end
    return root / VIDEO_FOLDER / f"{folder}{slash}{last}.mp4"


def temporary_path(path: Path) -> Path:
    """Return the name under which `replacing` writes a file: one that no user gives."""
    return path.with_name(TEMPORARY.format(_digest(path.name)))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; it is moved onto `path` at the end, or removed when the block raises.

    What was written is on the disk before the file takes its name.

    Raises:
        OSError: the disk is full, for example; it names `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_path(path)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except OSError as error:
        if error.filename == str(temporary) or (error.filename is None and error.errno in NOT_WRITTEN):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _digest(name: str) -> str:
    return hashlib.sha256(os.fsencode(name)).hexdigest()[:16]


def is_video_name(path: PurePath) -> bool:
    """Tell whether the suffix is that of a video file."""
    return path.suffix.lower() in VIDEO_SUFFIXES
