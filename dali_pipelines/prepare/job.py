"""The jobs of `prepare`: which videos are to be stored, and what a worker does for one."""

import errno
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.files import video_path
from dali_pipelines.store.journal import Entry, Journal, Stamp
from dali_pipelines.store.place import Place
from dali_pipelines.store.record import Record
from dali_pipelines.store.remux import copy_video, leave_in_place
from dali_pipelines.store.source import VideoError
from dali_pipelines.store.storage import is_url

PASSING = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "permission"),
    **dict.fromkeys((errno.ENOMEM, errno.EMFILE, errno.ENFILE), "memory"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "disk"),
    **dict.fromkeys((errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EHOSTUNREACH), "network"),
}
"""Errors that say nothing about a file, and what they are about."""
ROOM = 1 << 30
"""Bytes that a process must still be able to claim, or else any failure to decode is blamed on its memory limit."""


@dataclass(frozen=True)
class Job:
    """A video to store: from `source` to `target`, by an Encoding, "copy" or "original"."""

    name: str
    source: Place | Path
    target: Path
    how: Encoding | str

    @property
    def writes(self) -> bool:
        """Return whether a file is written."""
        return self.how != "original"


@dataclass(frozen=True)
class Failure:
    """Why a video cannot be stored.

    Attributes:
        reason: one line.
        passing: the cause where it is not about the file: "crash", "memory", "disk", "permission" or "network".
    """

    reason: str
    passing: str = ""

    def __str__(self) -> str:
        return self.reason


def jobs_left(
    videos: Mapping[str, Place], stamps: Mapping[str, Stamp], journal: Journal, out: Path, how: Encoding | str
) -> list[Job]:
    """Return what is new, has changed or was lost."""
    return [
        Job(name, source, video_path(out, name), how)
        for name, source in videos.items()
        if not _is_done(journal.entries.get(name), stamps[name], source, out, name)
    ]


def _is_done(entry: Entry | None, stamp: Stamp, source: Place, out: Path, name: str) -> bool:
    """Tell whether the journal's entry still holds: the same source, and the stored file or shard is whole."""
    if entry is None or entry.stamp != stamp:
        return False
    if entry.record is None:
        return not entry.passing
    if is_url(entry.record.source) or Path(entry.record.source).is_absolute():
        return source.holds(entry.record.source)
    target = out / entry.record.source if entry.record.source else video_path(out, name)
    last = entry.record.fragments[-1]
    return target.is_file() and target.stat().st_size >= last.offset + last.size


def store_video(job: Job) -> Record | Failure:
    """Store one video. UserError when its file cannot be written: the disk is full, for example."""
    try:
        if isinstance(job.how, Encoding):
            return write_video(job.target, job.source, job.how)
        if job.how == "copy":
            return copy_video(job.target, job.source)
        return leave_in_place(job.source)
    except VideoError as error:
        return Failure(str(error), _passing_cause(error))
    except Exception as error:
        if isinstance(error, OSError) and error.filename in map(str, (job.target, *job.target.parents)):
            raise UserError(f"cannot write {job.target}: {error.strerror}; the same command continues") from error
        return Failure(" ".join(f"{type(error).__name__}: {error}".split()), _passing_cause(error))


def _passing_cause(error: BaseException) -> str:
    """Return what an error, or one that led to it, is about if not about the file; else empty."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, MemoryError):
            return "memory"
        if cause := PASSING.get(getattr(chain, "errno", None) or 0):
            return cause
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    return "" if _has_room() else "memory"


def _has_room() -> bool:
    """Tell whether memory can still be claimed. Decoders that get none often say that their data are invalid."""
    try:
        mmap.mmap(-1, ROOM).close()
    except OSError:
        return False
    return True
