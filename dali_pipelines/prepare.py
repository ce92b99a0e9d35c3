"""Turn videos into a prepared dataset: `python -m dali_pipelines.prepare SRC... --out DIR`.

Videos are files, or folders of numbered pictures (ID/00001.jpg ...), as Something-Something is distributed.

Writes `DIR/videos/<name>.mp4`, `DIR/index.npz` and `DIR/quarantine.csv` (path, reason). The same command continues an
interrupted run, and does only what is new or has changed. The dataset is what the last command's sources hold. Exit
status 0, 3 when videos were quarantined, 2 when nothing is left.
"""

import argparse
import errno
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from tqdm import tqdm

from configs.errors import UserError, run_cli
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.datasets.fates import QUARANTINE_FILE, write_reasons
from dali_pipelines.datasets.labels import read_labels
from dali_pipelines.datasets.layouts import describe_classes, write_split_lists
from dali_pipelines.store.encode import Encoding, rounded, write_video
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import Index, Record
from dali_pipelines.store.journal import Entry, Journal, Stamp
from dali_pipelines.store.nvdec import MULTIPLE, NVDEC_LEAST
from dali_pipelines.store.remux import UNENCODED, copy_video, leave_in_place
from dali_pipelines.store.source import VideoError
from dali_pipelines.workers import Crashed, run_jobs

# Recipes scale to 112, 128 and 144.
SHORT_SIDE = {"h264": 144, "mjpeg": 144, "rawvideo": 144, "vp9": 144, "hevc": NVDEC_LEAST["hevc"][1]}
GOP = {"h264": 1, "mjpeg": 1, "rawvideo": 1, "vp9": 16, "hevc": 16}
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Job:
    """A video to store: from `source` to `target`, by an Encoding, "copy" or "original"."""

    name: str
    source: Path
    target: Path
    how: Encoding | str


def main(argv: list[str]) -> int:
    options = _parse(argv)
    how = _settings(options)
    settings = asdict(how) if isinstance(how, Encoding) else {"codec": how}
    videos = find_videos(options.sources, outside=options.out / "videos")
    labels, class_names = read_labels(options.labels, videos)
    pictures = next((path for path in videos.values() if path.is_dir()), None) if options.codec in UNENCODED else None
    if pictures is not None:
        raise UserError(f"--codec {how} cannot take a folder of pictures, {pictures}: use --codec h264")

    with Journal(options.out, settings) as journal:
        stamps = {name: _stamp(source) for name, source in videos.items()}
        jobs = [
            Job(name, source, video_path(options.out, name), how)
            for name, source in videos.items()
            if not _is_done(journal.entries.get(name), stamps[name], source, video_path(options.out, name))
        ]
        _run(jobs, stamps, journal, options.workers, total=len(videos))
        entries = {name: journal.entries[name] for name in videos}

    records = {name: entry.record for name, entry in entries.items() if entry.record is not None}
    quarantined = {str(videos[name]): entry.reason for name, entry in entries.items() if entry.record is None}
    quarantine_file = options.out / QUARANTINE_FILE
    write_reasons(quarantine_file, quarantined, key="path")
    if not records:
        path, reason = next(iter(quarantined.items()))
        raise UserError(f"none of the {len(videos)} videos can be used, see {quarantine_file}; {path}: {reason}")
    index = Index.build(options.out, records, labels=labels, class_names=class_names)
    index.save()
    _print_summary(options.out, records, new=len(jobs))
    for line in (*describe_classes(index), *write_split_lists(index)):
        print(line)
    if quarantined:
        print(f"quarantined {len(quarantined)} of {len(videos)} videos, reasons in {quarantine_file}")
    return 3 if quarantined else 0


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m dali_pipelines.prepare", description=__doc__.split("\n")[0])
    parser.add_argument("sources", nargs="+", type=Path, metavar="SRC", help="video files, or folders")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="the prepared dataset")
    parser.add_argument(
        "--codec",
        default="h264",
        choices=(*SHORT_SIDE, *UNENCODED),
        help="h264 (default) for CPU and GPU; without a GPU rawvideo, which takes much disk, or mjpeg; hevc with one; "
        "vp9 for DALI's own decoder on both; copy keeps the pictures as they are encoded; original only writes an "
        "index of the files where they are",
    )
    gops, sides = (", ".join(f"{value} for {codec}" for codec, value in of.items()) for of in (GOP, SHORT_SIDE))
    parser.add_argument("--gop", type=int, help=f"frames from key frame to key frame (default {gops})")
    parser.add_argument("--short-side", type=int, help=f"pixels of the shorter side, never scaled up (default {sides})")
    parser.add_argument("--size", metavar="WxH", help="exact width and height instead")
    parser.add_argument("--crf", type=int, help="quality (mjpeg: quantizer), lower is better (default by codec)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)), help="processes (default: cores)")
    parser.add_argument(
        "--labels",
        default="folders",
        metavar="folders|none|LIST",
        help="first folder level that is no split (train, val ...), or a list with labels: see docs/datasets.md",
    )
    return parser.parse_args(argv)


def _settings(options: argparse.Namespace) -> Encoding | str:
    """Return the Encoding of the options, or "copy" or "original"; UserError for options that do not fit together."""
    if options.workers < 1:
        raise UserError(f"--workers {options.workers} must be at least 1")
    given = {key: getattr(options, key) for key in ("gop", "short_side", "size", "crf")}
    given = {key: value for key, value in given.items() if value is not None}
    if options.codec in UNENCODED:
        if given:
            flag = "--" + next(iter(given)).replace("_", "-")
            raise UserError(f"{flag} has no effect with --codec {options.codec}: leave it out, or use --codec h264")
        return str(options.codec)
    if "size" in given:
        given["size"] = _parse_size(given["size"])
    else:
        given.setdefault("short_side", SHORT_SIDE[options.codec])
    given.setdefault("gop", GOP[options.codec])
    encoding = Encoding(codec=options.codec, **given)
    for side in sorted({encoding.short_side or MULTIPLE, *(encoding.size or ())}):
        if side != rounded(side):
            print(f"note: {side} pixels become {rounded(side)}, sides are multiples of {MULTIPLE}")
    return encoding


def _parse_size(text: str) -> tuple[int, int]:
    width, cross, height = text.partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise UserError(f"--size {text!r} must be WIDTHxHEIGHT in pixels, as in 176x128")
    return int(width), int(height)


def _stamp(source: Path) -> Stamp:
    """Return the stamp of a file; of a folder of pictures all their bytes and the newest of all times."""
    if not source.is_dir():
        return Stamp.of(source)
    found = [source.stat(), *(entry.stat() for entry in os.scandir(source))]
    return Stamp(sum(status.st_size for status in found), max(status.st_mtime_ns for status in found))


def _is_done(entry: Entry | None, stamp: Stamp, source: Path, target: Path) -> bool:
    """Tell whether the journal's entry still holds: the same source, and the stored file is whole."""
    if entry is None or entry.stamp != stamp:
        return False
    if entry.record is None:
        return True
    if entry.record.source:
        return entry.record.source == str(source.absolute())
    last = entry.record.fragments[-1]
    return target.is_file() and target.stat().st_size >= last.offset + last.size


def _run(jobs: list[Job], stamps: Mapping[str, Stamp], journal: Journal, workers: int, *, total: int) -> None:
    frames = failed = 0
    with tqdm(total=total, initial=total - len(jobs), unit="video", mininterval=1.0) as bar:
        for job, result in run_jobs(store_video, jobs, workers=min(workers, max(len(jobs), 1))):
            record, reason = (None, str(result)) if isinstance(result, Crashed) else result
            journal.add(job.name, Entry(stamps[job.name], record, reason))
            frames += record.num_frames if record else 0
            failed += record is None
            bar.set_postfix_str(f"{frames / bar.format_dict['elapsed']:.0f} frames/s, {failed} failed", refresh=False)
            bar.update()


def store_video(job: Job) -> tuple[Record | None, str]:
    """Store one video; return its record, or None and why it cannot be stored. UserError when the disk is full."""
    try:
        if isinstance(job.how, Encoding):
            return write_video(job.target, job.source, job.how), ""
        if job.how == "copy":
            return copy_video(job.target, job.source), ""
        return leave_in_place(job.source), ""
    except VideoError as error:
        return None, str(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            raise UserError(f"cannot write {job.target}: {error.strerror}; the same command continues") from error
        return None, " ".join(f"{type(error).__name__}: {error}".split())


def _print_summary(out: Path, records: Mapping[str, Record], *, new: int) -> None:
    rows = list(records.values())
    frames = sum(row.num_frames for row in rows)
    fragments = sum(len(row.fragments) for row in rows)
    size = sum(row.fragments[-1].offset + row.fragments[-1].size for row in rows)
    shapes = Counter(f"{row.width}x{row.height}" for row in rows).most_common()
    more = f" and {len(shapes) - 3} other sizes" * (len(shapes) > 3)
    print(f"{out}: {len(rows)} videos ({new} stored now), {frames} frames, {size / 1e6:.1f} MB")
    print(f"mean GOP {frames / fragments:.1f} frames, {fragments / len(rows):.1f} fragments a video")
    print("sizes: " + ", ".join(f"{shape} ({count})" for shape, count in shapes[:3]) + more)
    for note, count in Counter(note for row in rows for note in row.notes).items():
        print(f"note: {count} videos {note}")
    for reason, count in Counter(row.software_only for row in rows if row.software_only).items():
        print(f"note: {count} videos may have {reason}, which DALI gets wrong on a GPU: PyAV decodes this dataset")


if __name__ == "__main__":
    run_cli(main)
