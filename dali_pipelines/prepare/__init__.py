"""Turn videos into a prepared dataset: `clipfeed prepare SRC... --out DIR`.

Videos are files or folders of numbered pictures (ID/00001.jpg ...), also inside zips, tars and LMDBs.

Writes `DIR/videos/<name>.mp4`, `DIR/index.npz` and `DIR/quarantine.csv` (path, reason), and overwrites no file that it
did not make. The same command resumes an interrupted run, and handles only videos that are new, have changed, or failed
for a passing cause: a crash, memory, the disk, a permission. The dataset holds what the last command's sources hold.
Exit status: 0; 3 if videos were quarantined; 2 if none are left.
"""

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path

from configs.errors import UserError, shown
from configs.options import whole_number
from configs.schema import MOST_WORKERS
from configs.words import counted
from dali_pipelines import limits
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.datasets.fates import QUARANTINE_FILE, write_reasons
from dali_pipelines.datasets.labels import read_labels
from dali_pipelines.datasets.layouts import describe_classes, write_split_lists
from dali_pipelines.next_steps import after_prepare
from dali_pipelines.prepare.engines import ENGINES
from dali_pipelines.prepare.job import jobs_left, store_all
from dali_pipelines.prepare.merge import merge
from dali_pipelines.prepare.own_files import remove_unfinished, require_free, require_own_files, unused_files
from dali_pipelines.prepare.parts import choose_part, missing, pin
from dali_pipelines.prepare.settings import add_options, chosen
from dali_pipelines.prepare.shards import Packer, finish_moves, name_hash, packing_notes, parse_size
from dali_pipelines.prepare.summary import summary
from dali_pipelines.store.encode import Encoding
from dali_pipelines.store.index import Index
from dali_pipelines.store.journal import Entry, Journal, Stamp
from dali_pipelines.store.place import Place
from dali_pipelines.store.record import Record
from dali_pipelines.store.storage import is_url


def main(argv: list[str]) -> int:
    options = _parse(argv)
    if options.missing:
        print(missing(options.out))
        return 0
    if options.merge:
        index, quarantined = merge(options.out)
        print(f"{options.out}: {counted(len(index), 'video')} of all parts, {index.num_frames.sum()} frames")
        return _finish(index, quarantined)
    try:
        return _prepare(options)
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130


def _prepare(options: argparse.Namespace) -> int:
    out, how = options.out, chosen(options)
    settings = asdict(how) if isinstance(how, Encoding) else {"codec": how}
    require_free(out, options.sources)
    found = find_videos(options.sources, outside=out)
    videos = found.videos
    labels, class_names, notes = read_labels(options.labels, videos, given=found.labels)
    for note in (*found.notes, *notes):
        print(f"note: {note}")

    part = choose_part(options.shard, out, os.environ)
    folder = part.folder(out) if part else out
    if part:
        pin(out, part, settings)
        videos = {name: source for name, source in videos.items() if part.takes(name)}
        of = counted(len(labels), "video")
        print(f"part {part.number} of {part.count}: {len(videos)} of {of} (--shard 0/1 takes all)")

    with Journal(folder, settings) as journal:
        places = {place.location: place for place in videos.values()}  # one for all videos of an archive
        stamp_of = {location: Stamp.of(place) for location, place in places.items()}
        stamps = {name: stamp_of[place.location] for name, place in videos.items()}
        jobs = jobs_left(videos, stamps, journal, out, how)
        require_own_files(out, journal, (job.name for job in jobs if job.writes), alone=part is None)
        if part:
            part.begin(out)
        finish_moves(out, journal)
        packer = None
        if options.shards:
            packer = Packer(out, journal, labels, options.shards, prefix=f"{part.number:05d}-" if part else "")
            packer.add_loose(videos.keys() - {job.name for job in jobs})
            jobs.sort(key=lambda job: name_hash(job.name))
        run = partial(ENGINES[options.engine], workers=min(options.workers, max(len(jobs), 1)))
        store_all(jobs, run, stamps, journal, packer, done=len(videos) - len(jobs))
        if packer:
            packer.flush()
        entries = {name: journal.entries[name] for name in videos}
        records, quarantined = _write(folder, videos, entries, labels, class_names)
        remove_unfinished(out, journal.known - records.keys())
        if part:
            part.end(out, labels, class_names, stored=len(records))

    for line in (
        *summary(out, entries, videos, tried={job.name for job in jobs}),
        *packing_notes(journal, records, labels),
        *unused_files(out, journal, entries),
    ):
        print(line)
    if not records and not part:
        why = ": ".join(map(shown, next(iter(quarantined.items()))))
        raise UserError(f"0 of {counted(len(videos), 'video')} can be used, see {folder / QUARANTINE_FILE}; {why}")
    if part:
        return _status(folder, len(quarantined), len(videos))
    return _finish(Index.load(out), len(quarantined))


def _finish(index: Index, quarantined: int) -> int:
    """Print what a finished dataset holds and what to do next; return the exit status."""
    for line in (*describe_classes(index), *write_split_lists(index)):
        print(line)
    status = _status(Path(index.root), quarantined, len(index) + quarantined)
    print("\n".join(after_prepare(index)))
    return status


def _status(folder: Path, quarantined: int, total: int) -> int:
    if quarantined:
        print(f"quarantined {quarantined} of {counted(total, 'video')}, reasons in {folder / QUARANTINE_FILE}")
    return 3 if quarantined else 0


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed prepare", description=__doc__.split("\n")[0])
    parser.add_argument("sources", nargs="*", metavar="SRC", help="video files, archives, folders, or URLs of them")
    parser.add_argument("--out", required=True, type=_folder, metavar="DIR", help="the prepared dataset")
    add_options(parser)
    workers = whole_number(1, MOST_WORKERS)
    parser.add_argument("--workers", type=workers, default=limits.cores(), help="processes (default: cores)")
    parser.add_argument(
        "--labels",
        default="folders",
        metavar="folders|none|LIST",
        help="where classes come from: the first level of folders (default; below those of splits such as train and "
        "val), nowhere, or a list with labels; see docs/datasets.md",
    )
    parser.add_argument(
        "--shards", type=parse_size, metavar="SIZE", help="pack the videos into tar shards of 1GiB, 500MB ..."
    )
    parser.add_argument("--engine", default="local", choices=ENGINES, help="where: this machine, or a Ray cluster")
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="prepare only part I of N, I from 0 to N-1 (default: the part of this task of a Slurm array)",
    )
    parser.add_argument("--missing", action="store_true", help="name the unfinished parts, for sbatch --array")
    parser.add_argument("--merge", action="store_true", help="make the dataset from its parts, when all are finished")
    return parser


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = make_parser()
    options = parser.parse_args(argv)
    if bool(options.sources) == (options.missing or options.merge):
        parser.error("give the videos, or else --missing or --merge")
    if options.shards and options.codec == "original":
        raise UserError("--shards has no effect with --codec original: leave it out, or use --codec copy")
    return options


def _folder(text: str) -> Path:
    if is_url(text):
        raise UserError(
            f"--out {text}: prepare writes to a folder. Prepare into one, copy it there, and give the URL to the "
            "trainers as --data-dir"
        )
    return Path(text)


def _write(
    folder: Path,
    videos: Mapping[str, Place],
    entries: Mapping[str, Entry],
    labels: Mapping[str, int],
    class_names: tuple[str, ...],
) -> tuple[dict[str, Record], dict[str, str]]:
    """Write the index and the quarantine; return the records by name and the reasons by path."""
    records = {name: entry.record for name, entry in entries.items() if entry.record is not None}
    quarantined = {str(videos[name]): entry.full_reason for name, entry in entries.items() if entry.record is None}
    write_reasons(folder / QUARANTINE_FILE, quarantined, key="path")
    if records:
        Index.build(folder, records, labels=labels, class_names=class_names).save()
    return records, quarantined
