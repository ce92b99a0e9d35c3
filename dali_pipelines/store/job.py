"""The jobs of `prepare`: which videos are to be stored, and what a worker does for one."""

import errno
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.errors import UserError
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import Record
from dali_pipelines.store.journal import Entry, Journal, Stamp
from dali_pipelines.store.remux import copy_video, leave_in_place
from dali_pipelines.store.source import VideoError

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Job:
    """A video to store: from `source` to `target`, by an Encoding, "copy" or "original"."""

    name: str
    source: Path
    target: Path
    how: Encoding | str


@dataclass(frozen=True)
class Failure:
    """Why a video cannot be stored, in one line."""

    reason: str

    def __str__(self) -> str:
        return self.reason


def jobs_left(
    videos: Mapping[str, Path], stamps: Mapping[str, Stamp], journal: Journal, out: Path, how: Encoding | str
) -> list[Job]:
    """Return what is new, has changed or was lost."""
    return [
        Job(name, source, video_path(out, name), how)
        for name, source in videos.items()
        if not _is_done(journal.entries.get(name), stamps[name], source, out, name)
    ]


def _is_done(entry: Entry | None, stamp: Stamp, source: Path, out: Path, name: str) -> bool:
    """Tell whether the journal's entry still holds: the same source, and the stored file or shard is whole."""
    if entry is None or entry.stamp != stamp:
        return False
    if entry.record is None:
        return True
    if Path(entry.record.source).is_absolute():
        return entry.record.source == str(source.absolute())
    target = out / entry.record.source if entry.record.source else video_path(out, name)
    last = entry.record.fragments[-1]
    return target.is_file() and target.stat().st_size >= last.offset + last.size


def store_video(job: Job) -> Record | Failure:
    """Store one video. UserError when the disk is full."""
    try:
        if isinstance(job.how, Encoding):
            return write_video(job.target, job.source, job.how)
        if job.how == "copy":
            return copy_video(job.target, job.source)
        return leave_in_place(job.source)
    except VideoError as error:
        return Failure(str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise UserError(f"cannot write {job.target}: {error.strerror}; the same command continues") from error
        return Failure(" ".join(f"{type(error).__name__}: {error}".split()))
