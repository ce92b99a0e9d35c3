"""Describe a dataset's contents: its index, lists and quarantine."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from textwrap import shorten

import numpy as np

from configs.errors import UserError
from configs.words import counted
from dali_pipelines.datasets.dataset import Dataset
from dali_pipelines.datasets.fates import QUARANTINE_FILE, read_quarantine
from dali_pipelines.datasets.layouts import SPLIT
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.inspection import Section, spread
from dali_pipelines.store.index import Index
from dali_pipelines.store.record import ClipError
from dali_pipelines.store.storage import is_url

PROBLEM = 90
"""Maximum number of characters of a list's problem in the table."""
LOOKED_AT = 5000
"""Videos whose table of fragments is read; larger datasets are sampled evenly."""


def contents(dataset: Dataset) -> list[Section]:
    """Describe a dataset in sections, without those that do not apply to it. UserError if its index is damaged."""
    index = dataset.index
    sizes, longest = _look_at(index)
    sections = [
        _overview(dataset, sizes),
        _lengths(index),
        _counts("Sizes", "pixels", _common("x".join(map(str, size)) for size in index.sizes_WH.tolist())),
        _counts("Frame rates", "per second", _common(f"{fps:.4g}" for fps in index.fps.tolist())),
        _counts("Formats", "codec, pixels, container", _common(map(index.formats.__getitem__, index.format_ids))),
        _gops(index, longest),
        _classes(index),
        _lists(index),
        _quarantine(index),
    ]
    return [section for section in sections if section]


def _look_at(index: Index) -> tuple[list[int], list[int]]:
    """Measure some videos: the bytes of each, and the frames of its longest fragment. UserError for a damaged table."""
    sizes, longest = [], []
    try:
        for row in spread(len(index), LOOKED_AT):
            (begin, end), starts, ends, frame_ends, _ = index.units(row)
            sizes.append(end - begin + int((ends - starts).sum()))
            longest.append(int(np.diff(frame_ends, prepend=0).max()))
    except ClipError as error:
        raise UserError(str(error)) from error
    return sizes, longest


def _overview(dataset: Dataset, sizes: Sequence[int]) -> Section:
    index = dataset.index
    frames = int(index.num_frames.sum())
    size = sum(sizes) * len(index) / len(sizes)
    about = "about " * (len(sizes) < len(index))
    where = f"{index.root}" + f", list {dataset.list_file}" * bool(dataset.list_file)
    return Section(
        "Dataset",
        [
            ("where", where),
            ("videos", f"{len(index):,}"),
            ("frames", f"{frames:,}"),
            ("hours", f"{float((index.num_frames / index.fps).sum()) / 3600:.4g}"),
            ("bytes", f"{about}{_size(size)}, {size / frames / 1000:.2f} kB a frame"),
        ],
        notes=[f"note: {note}" for note in dataset.notes],
    )


def _lengths(index: Index) -> Section:
    seconds = index.num_frames / index.fps
    quantiles = {"shortest": 0.0, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "longest": 1.0}
    rows = [
        (name, f"{np.quantile(index.num_frames, at):.0f}", f"{np.quantile(seconds, at):.2f}")
        for name, at in quantiles.items()
    ]
    counts, edges = np.histogram(seconds, bins=min(24, max(len(np.unique(seconds.round(2))), 1)))
    bars = [(f"{low:.3g} to {high:.3g} s", float(n)) for n, low, high in zip(counts, edges, edges[1:], strict=False)]
    return Section("Lengths", rows, ("", "frames", "seconds"), bars)


def _counts(
    title: str, kind: str, counts: Sequence[tuple[str, int]], *, most: int = 16, notes: Sequence[str] = ()
) -> Section:
    """Return a table of how many videos there are of each kind, and the bars of the first `most`."""
    return Section(title, [(label, f"{n:,}") for label, n in counts], (kind, "videos"), counts[:most], notes=notes)


def _common(labels: Iterable[str]) -> list[tuple[str, int]]:
    return Counter(labels).most_common()


def _gops(index: Index, longest: Sequence[int]) -> Section:
    """Count videos by their longest fragment: a clip costs all frames of those it touches."""
    ranges = [(1, 1), *((2**power + 1, 2 ** (power + 1)) for power in range(9)), (513, max(513, *longest))]
    counts = {span: sum(span[0] <= frames <= span[1] for frames in longest) for span in ranges}
    found = [(str(low) if low == high else f"{low} to {high}", count) for (low, high), count in counts.items() if count]
    notes = [f"of {len(longest):,} videos that were looked at"] * (len(longest) < len(index))
    return _counts("Frames of the longest fragment (GOP)", "frames", found, notes=notes)


def _classes(index: Index) -> Section:
    known = index.labels[index.labels >= 0]
    if not len(known):
        return Section("Classes", [("classes", "none: these videos serve pretraining, not finetuning")])
    class_names = index.class_names
    counts = np.bincount(known, minlength=len(class_names))
    order = np.argsort(-counts, kind="stable").tolist()
    names = [class_names[row] if row < len(class_names) else str(row) for row in order]
    unlabeled = counted(int((index.labels < 0).sum()), "video")
    notes = [f"{counted(len(counts), 'class', 'classes')}, {(counts == 0).sum()} empty; {unlabeled} without a class"]
    if class_names and all(map(SPLIT.fullmatch, class_names)):
        notes.append("note: these are names of splits, not of classes: prepare each folder by itself, or give --labels")
    return _counts("Classes", "class", list(zip(names, counts[order].tolist(), strict=True)), most=120, notes=notes)


def _lists(index: Index) -> Section | None:
    """Try each list of videos in the dataset's folder."""
    if is_url(index.root):
        return None
    rows, bars = [], []
    for path in sorted(Path(index.root).glob("*.txt")):
        videos = 0
        try:
            part = open_dataset(index.root, path)
            videos = len(part.index)
            rows.append((path.name, f"{videos:,}", f"{len(part.quarantined):,}", ""))
        except UserError as error:
            rows.append((path.name, "", "", shorten(str(error).removeprefix(f"{path} "), PROBLEM)))
        bars.append((path.name, float(videos)))
    return Section("Lists", rows, ("list", "videos", "quarantined", "problem"), bars) if rows else None


def _quarantine(index: Index) -> Section | None:
    reasons = read_quarantine(index.root)
    if not reasons:
        return None
    kinds: dict[str, list[str]] = {}
    for path, reason in reasons.items():
        kind = re.sub(r"(?<!\w)\d[\d.]*", "N", reason)
        kinds.setdefault(re.sub(r"\bN frame\b", "N frames", kind), []).append(path)
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]))
    return Section(
        f"Quarantined: {counted(len(reasons), 'video', spec=',')} ({QUARANTINE_FILE})",
        [(f"{len(paths):,}", reason, paths[0]) for reason, paths in ordered],
        ("videos", "reason", "such as"),
        [(reason, float(len(paths))) for reason, paths in ordered[:12]],
    )


def _size(number: float) -> str:
    units = ("B", "kB", "MB", "GB", "TB")
    power = min(int(np.log10(max(number, 1)) // 3), len(units) - 1)
    return f"{number / 1000**power:.3g} {units[power]}"
