"""The jobs of `prepare`: which videos to store, what a worker does for each, and what the journal records.

The path of a video:

1. `find_videos` gives it a name and a `Place`, from file names and archive directories alone.
2. `jobs_left` makes a `Job` for it, unless the journal has an entry whose `Stamp` matches the file or folder.
3. A worker reads all of it and stores it with `encode.write_video`, `remux.copy_video` or `in_place.leave_in_place`.
   Each returns a `Record`: what the video is, and where its frames are.
4. `store_all` writes the record, or why there is none, to the journal. A `Packer` moves the file into a shard.
5. `Index.build` makes a table of all records.
"""

import errno
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from tqdm import tqdm

from dali_pipelines.prepare.shards import Packer
from dali_pipelines.progress import bar
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.files import cannot_write, video_path
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.journal import Entry, Journal, Stamp
from dali_pipelines.store.place import Place
from dali_pipelines.store.record import Record
from dali_pipelines.store.remux import copy_video
from dali_pipelines.store.source import VideoError
from dali_pipelines.store.storage import is_url
from dali_pipelines.workers import Crashed

PASSING = {
    **dict.fromkeys((errno.EACCES, errno.EPERM), "permission"),
    **dict.fromkeys((errno.ENOMEM, errno.EMFILE, errno.ENFILE), "memory"),
    **dict.fromkeys((errno.EIO, errno.ESTALE), "disk"),
    **dict.fromkeys((errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.EHOSTUNREACH), "network"),
    errno.EPROTO: "network",
}
"""Errors that are not the file's fault -> their cause."""
ROOM = 1 << 30
"""Bytes that a process must still be able to allocate; otherwise its memory limit is blamed for any failure."""


@dataclass(frozen=True)
class Job:
    """A video to store: from `source` to `target`, by an Encoding, "copy" or "original"."""

    name: str
    source: Place | Path
    target: Path
    how: Encoding | str

    @property
    def writes(self) -> bool:
        """Whether a file is written."""
        return self.how != "original"


@dataclass(frozen=True)
class Failure:
    """Why a video cannot be stored, in one line.

    `passing` is the cause if it is not the file's fault: "crash", "memory", "disk", "permission" or "network".
    """

    reason: str
    passing: str = ""

    def __str__(self) -> str:
        return self.reason


Result: TypeAlias = Record | Failure | Crashed


def jobs_left(
    videos: Mapping[str, Place], stamps: Mapping[str, Stamp], journal: Journal, out: Path, how: Encoding | str
) -> list[Job]:
    """Return a job for each video that is new, has changed, or whose stored file was lost."""
    return [
        Job(name, source, video_path(out, name), how)
        for name, source in videos.items()
        if not _is_done(journal.entries.get(name), stamps[name], source, out, name)
    ]


def _is_done(entry: Entry | None, stamp: Stamp, source: Place, out: Path, name: str) -> bool:
    """Tell whether a journal entry still holds: the source is the same, and the stored file or shard is whole."""
    if entry is None or entry.stamp != stamp:
        return False
    if entry.record is None:
        return not entry.passing
    if is_url(entry.record.source) or Path(entry.record.source).is_absolute():
        return source.holds(entry.record.source)
    target = out / entry.record.source if entry.record.source else video_path(out, name)
    return target.is_file() and target.stat().st_size >= entry.record.fragments.end


def store_video(job: Job) -> Record | Failure:
    """Store one video. UserError if its file cannot be written: the disk is full, for example."""
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
            raise cannot_write(job.target, error) from error
        return Failure(" ".join(f"{type(error).__name__}: {error}".split()), _passing_cause(error))


def _passing_cause(error: BaseException) -> str:
    """Return the cause of an error, or of one that led to it, if it is not the file's fault; else empty."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, MemoryError):
            return "memory"
        if cause := PASSING.get(getattr(chain, "errno", None) or 0):
            return cause
        chain = chain.__cause__ or (None if chain.__suppress_context__ else chain.__context__)
    try:  # decoders without memory often report invalid data
        mmap.mmap(-1, ROOM).close()
    except OSError:
        return "memory"
    return ""


def store_all(
    jobs: list[Job],
    run: Callable[[Callable[[Job], Result], Iterable[Job]], Iterator[tuple[Job, Result]]],
    stamps: Mapping[str, Stamp],
    journal: Journal,
    packer: Packer | None,
    *,
    done: int,
) -> None:
    """Store videos, and write the outcome of each to the journal as soon as it is known; `packer` gets what is stored.

    `run`, one of `ENGINES`, maps a function over jobs in any order. `done` videos were stored before, for the progress
    bar.
    """
    frames = failed = 0
    progress: tqdm[object] = bar(desc="video", total=done + len(jobs), initial=done)
    with progress:
        for job, result in run(store_video, _begun(jobs, journal)):
            if isinstance(result, Record):
                journal.add(job.name, Entry(stamps[job.name], result))
                frames += result.num_frames
                if packer:
                    packer.add(job.name)
            else:
                passing = result.passing if isinstance(result, Failure) else "crash"
                journal.add(job.name, Entry(stamps[job.name], None, str(result), passing))
                failed += 1
            speed = frames / progress.format_dict["elapsed"]
            progress.set_postfix_str(f"{speed:.0f} frames/s, {failed} failed", refresh=False)
            progress.update()


def _begun(jobs: Iterable[Job], journal: Journal) -> Iterator[Job]:
    """Claim the file of each job before a worker gets it."""
    for job in jobs:
        if job.writes:
            journal.begin(job.name)
        yield job
