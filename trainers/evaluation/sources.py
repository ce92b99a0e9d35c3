"""Open videos to extract features of: a prepared dataset, or files that were never prepared."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from configs.errors import UserError
from configs.words import counted
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.datasets.labels import read_labels
from dali_pipelines.prepare.job import Failure, Job, store_video
from dali_pipelines.progress import bar
from dali_pipelines.store.encode import Encoding
from dali_pipelines.store.files import INDEX_FILE
from dali_pipelines.store.index import Index
from dali_pipelines.store.record import Record
from dali_pipelines.store.storage import exists, joined
from dali_pipelines.workers import Crashed, run_jobs
from trainers.engine.distributed import Ranks


@dataclass(frozen=True)
class Videos:
    """The videos of the sources."""

    index: Index
    """The videos that can be read."""
    labels: Mapping[str, int]
    """Name -> class of all videos, -1 for none."""
    failed: Mapping[str, str]
    """Name -> reason of the videos that cannot be read."""
    encoded: TemporaryDirectory[str] | None = None
    """Re-encoded videos that do not decode as players show them, such as a phone's; deleted with this object."""


def open_videos(sources: Sequence[Path | str], ranks: Ranks, *, workers: int) -> Videos:
    """Open a prepared dataset, or videos that were never prepared. All ranks call this at the same point.

    UserError for a dataset along with other sources, or if no video can be read.
    """
    prepared = [source for source in sources if exists(joined(source, INDEX_FILE))]
    if not prepared:
        return _index_in_place(sources, ranks, workers)
    if len(sources) > 1:
        raise UserError(f"{prepared[0]} is a prepared dataset: give it alone, each dataset has a file of features")
    return videos_of(Index.load(prepared[0]))


def videos_of(index: Index) -> Videos:
    """Return the videos of a prepared dataset."""
    return Videos(index, dict(zip(index.names.texts(), index.labels.tolist(), strict=True)), {})


def _index_in_place(sources: Sequence[Path | str], ranks: Ranks, workers: int) -> Videos:
    """Index videos like `clipfeed prepare --codec original`, but without files; each rank decodes a shard.

    Videos that cannot be used as they are, such as rotated ones, are encoded into a temporary folder.
    """
    found = find_videos(sources, outside=Path(os.devnull))  # no video is below it
    labels, class_names, _ = read_labels("folders", found.videos, given=found.labels)
    ranks.note(found.notes)
    jobs = [Job(name, place, Path(), "original") for name, place in found.videos.items()]
    jobs = jobs[ranks.rank :: ranks.world_size]
    mine = _store(jobs, workers, "decoding once: video", quiet=ranks.rank > 0)
    folder = TemporaryDirectory(prefix="clipfeed-", ignore_cleanup_errors=True)
    again = [
        replace(job, target=Path(folder.name, f"{number}.mp4"), how=Encoding())
        for number, job in enumerate(jobs)
        if not isinstance(mine[job.name], Record)
    ]
    _require_seen(folder.name if again else "", ranks)
    try:
        stored = _store(again, workers, "encoding what does not decode as it is: video", quiet=ranks.rank > 0)
    except UserError as error:  # of a full disk, whose way out is that of `prepare`
        reason = str(error).partition("; ")[0]
        raise UserError(f"{reason}; set TMPDIR to a folder with more room, or prepare the videos first") from error
    mine |= {
        job.name: replace(record, source=str(job.target))
        for job in again
        if isinstance(record := stored[job.name], Record)
    }
    gathered = {name: result for of_rank in ranks.gather_objects(mine) for name, result in of_rank.items()}
    records = {name: result for name, result in gathered.items() if isinstance(result, Record)}
    failed = {name: str(result) for name, result in gathered.items() if not isinstance(result, Record)}
    if not records:
        name = min(failed)
        raise UserError(f"0 of {counted(len(failed), 'video')} can be read; {found.videos[name]}: {failed[name]}")
    counts = Counter(note for record in records.values() for note in record.notes)
    ranks.note(f"{counted(count, 'video')} {note}" for note, count in counts.items())
    index = Index.build(sources[0], records, labels=labels, class_names=class_names)
    return Videos(index, labels, failed, folder)


def _require_seen(folder: str, ranks: Ranks) -> None:
    """Raise UserError on all ranks if one cannot see another's temporary `folder`, which is "" for none."""
    needed = [other for other in ranks.gather_objects(folder) if other]
    unseen = [other for other in needed if not Path(other).is_dir()]
    if lost := sorted({other for of_rank in ranks.gather_objects(unseen) for other in of_rank}):
        raise UserError(
            f"some videos do not decode as players show them and are encoded anew, into {lost[0]}, which not all nodes "
            "see: set TMPDIR to a folder that they share, or prepare the videos first"
        )


def _store(jobs: list[Job], workers: int, what: str, *, quiet: bool) -> dict[str, Record | Failure | Crashed]:
    """Run jobs in `workers` processes, or in this one if 0; return each job's result by name."""
    results = (
        run_jobs(store_video, jobs, workers=max(min(workers, len(jobs)), 1))
        if workers and jobs
        else ((job, store_video(job)) for job in jobs)
    )
    shown = bar(results, desc=what, total=len(jobs), leave=False, quiet=quiet)
    return {job.name: result for job, result in shown}
