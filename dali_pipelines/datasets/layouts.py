"""Folders of splits and of classes: train/CLASS/VIDEO and val/CLASS/VIDEO, CLASS/VIDEO."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

from configs.errors import first_names
from configs.words import counted
from dali_pipelines.datasets.own_lists import read_record, write_list
from dali_pipelines.store.index import Index

SPLIT = re.compile(
    r"(?:(?:videos?|raw_?frames|frames|images)_)?(?:train|training|val|valid|validate|validation|test|testing)"
    r"(?:[_-]?(?:set|videos?|frames|\d+|\d+x\d+))?",
    re.IGNORECASE,
)
"""Names of split folders: train, val, or train_256 and videos_val as in mmaction2 and PySlowFast."""


def split_level(names: Sequence[str]) -> int | None:
    """Return the level at which all folders are splits, or None.

    Only folders that all videos share may be above it.
    """
    folders = [name.split("/")[:-1] for name in names if "/" in name]
    if not folders:
        return None
    for level in range(min(map(len, folders))):
        at_level = {parts[level] for parts in folders}
        if all(map(SPLIT.fullmatch, at_level)):
            return level
        if len(at_level) > 1:
            return None
    return None


def split_of(names: Sequence[str]) -> list[str]:
    """Return the split folder of each name, empty if it is in none."""
    level = split_level(names)
    return ["" if level is None or "/" not in name else name.split("/")[level] for name in names]


def class_folder(names: Sequence[str]) -> list[str | None]:
    """Return the class folder of each name: its first folder, or the one inside the split's; None if it has none.

    In Unicode's composed form: macOS may write the same folder in another form than Linux.
    """
    level = split_level(names)
    place = 0 if level is None else level + 1
    parts = [name.split("/") for name in names]
    return [normalize("NFC", of[place]) if len(of) > place + 1 else None for of in parts]


def describe_classes(index: Index) -> list[str]:
    """Describe the classes and the splits of a dataset, one line each."""
    splits = Counter(split for split in split_of(index.names.texts()) if split)
    unlabeled = int((index.labels < 0).sum())
    some = f", {counted(unlabeled, 'video')} without one" if unlabeled else ""
    lines = [f"classes: {len(index.class_names)} ({first_names(index.class_names)}){some}"]
    if not index.class_names:
        lines = ["classes: none; they come from folders of classes, or from --labels LIST"]
    if splits:
        counts = (f"{split} ({counted(count, 'video')})" for split, count in sorted(splits.items()))
        lines.append(f"splits: {', '.join(counts)}")
    return lines


def write_split_lists(index: Index) -> list[str]:
    """Write `<split>.txt` into a dataset for each split folder; return a line for the user about each.

    Lists of the user stay unchanged, and so do those of `clipfeed lists`, which may name fewer videos.
    """
    listed: dict[str, list[str]] = defaultdict(list)
    names = index.names.texts()
    for name, split in zip(names, split_of(names), strict=True):
        if split:
            listed[split].append(name)
    record, lines = read_record(index.root), []
    for split, of_split in listed.items():
        path, count = Path(index.root, f"{split}.txt"), counted(len(of_split), "video")
        others = path.exists() and path.name in record and not record[path.name]["split"]
        if others or not write_list(path, of_split, split=True):
            whose = "of `clipfeed lists`" if others else "of yours"
            lines.append(f"note: {path} is a list {whose} and stays; {split}/ has {count}")
        else:
            lines.append(f"{path}: {count}; --set data.list={path.name} takes this list alone")
    return lines
