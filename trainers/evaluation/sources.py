"""Open videos to be evaluated: a prepared dataset, or files that were never prepared."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from configs.errors import UserError
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.datasets.labels import read_labels
from dali_pipelines.prepare.job import Job, store_video
from dali_pipelines.store.index import INDEX_FILE, Index, Record
from dali_pipelines.store.storage import exists, joined
from dali_pipelines.workers import run_jobs
from trainers.engine.distributed import Ranks


@dataclass(frozen=True)
class Videos:
    """What the sources hold."""

    index: Index
    """The videos that can be read."""
    labels: Mapping[str, int]
    """Name -> class of all of them, -1 for none."""
    failed: Mapping[str, str]
    """Name -> reason of those that cannot."""


def open_videos(sources: Sequence[Path | str], ranks: Ranks, *, workers: int) -> Videos:
    """Open a prepared dataset, or videos that were never prepared. All ranks call this at the same point.

    UserError for a dataset together with anything else, and when no video can be read.
    """
    prepared = [source for source in sources if exists(joined(source, INDEX_FILE))]
    if not prepared:
        return _index_in_place(sources, ranks, workers)
    if len(sources) > 1:
        raise UserError(f"{prepared[0]} is a prepared dataset: give it alone, each dataset has a file of features")
    index = Index.load(prepared[0])
    return Videos(index, dict(zip(index.names.texts(), index.labels.tolist(), strict=True)), {})


def _index_in_place(sources: Sequence[Path | str], ranks: Ranks, workers: int) -> Videos:
    """Index videos as `dali_pipelines.prepare --codec original` does, without its files; each rank decodes a shard."""
    found = find_videos(sources, outside=Path(os.devnull))  # nothing lies below it
    labels, class_names = read_labels("folders", found.videos, given=found.labels)
    for note in found.notes if ranks.rank == 0 else ():
        print(f"note: {note}", flush=True)
    jobs = [Job(name, place, Path(), "original") for name, place in found.videos.items()][
        ranks.rank :: ranks.world_size
    ]
    results = (
        run_jobs(store_video, jobs, workers=max(min(workers, len(jobs)), 1))
        if workers
        else ((job, store_video(job)) for job in jobs)
    )
    quiet = True if ranks.rank else None  # None: a bar where there is a terminal
    bar = tqdm(results, desc="decoding once", total=len(jobs), unit="video", leave=False, disable=quiet)
    mine = {job.name: result for job, result in bar}
    gathered = {name: result for of_rank in ranks.gather_objects(mine) for name, result in of_rank.items()}
    records = {name: result for name, result in gathered.items() if isinstance(result, Record)}
    failed = {name: str(result) for name, result in gathered.items() if not isinstance(result, Record)}
    if not records:
        name = min(failed)
        raise UserError(f"none of the {len(failed)} videos can be read; {found.videos[name]}: {failed[name]}")
    for note, count in Counter(note for record in records.values() for note in record.notes).items():
        if ranks.rank == 0:
            print(f"note: {count} videos {note}", flush=True)
    index = Index.build(sources[0], records, labels=labels, class_names=class_names)
    return Videos(index, labels, failed)
