"""Run the jobs of `prepare`, and keep the journal while they run."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from tqdm import tqdm

from dali_pipelines.prepare.job import Failure, Job, store_video
from dali_pipelines.prepare.shards import Packer
from dali_pipelines.progress import bar
from dali_pipelines.store.journal import Entry, Journal, Stamp
from dali_pipelines.store.record import Record
from dali_pipelines.workers import Crashed

Result: TypeAlias = Record | Failure | Crashed


def store_all(
    jobs: list[Job],
    run: Callable[[Callable[[Job], Result], Iterable[Job]], Iterator[tuple[Job, Result]]],
    stamps: Mapping[str, Stamp],
    journal: Journal,
    packer: Packer | None,
    *,
    done: int,
) -> None:
    """Store videos, and write what came of each into the journal as soon as it is known.

    Args:
        run: maps a function over jobs, in any order: one of `ENGINES`.
        stamps: of the sources, by name.
        packer: gets each video that was stored.
        done: videos that need not be stored, for the bar.
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
