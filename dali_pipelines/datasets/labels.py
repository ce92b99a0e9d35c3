"""Read the class of each video from its folder, its archive or a list."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError, first_names, printable
from configs.words import counted
from dali_pipelines.datasets.classes import Listed, base_note, class_ids, classes_of_lists, numbered
from dali_pipelines.datasets.formats import Reading, read_lists
from dali_pipelines.datasets.formats.table import NEED
from dali_pipelines.datasets.layouts import class_folder
from dali_pipelines.datasets.names import Names, encoding_hint, match
from dali_pipelines.store.storage import is_url, location

COUNTS_ALIKE = 0.9  # a column is frame counts if so many are within 2 of the videos': tools count differently
TIMES = "the list states times, which are not read: a video is taken whole; cut its parts into files of their own"
"""A note; without the list's name, as `lists` writes the names alone to another file."""


def read_labels(
    rule: str, names: Iterable[str], *, given: Mapping[str, str] | None = None
) -> tuple[dict[str, int], tuple[str, ...], list[str]]:
    """Return the class id of each name (-1: none), the class names, and notes on the list.

    By `rule`, classes come from "folders" (the first level that is not a split), "none", or the path of a list with
    labels. `given` are labels that came with some of the videos: if there are any, "folders" uses them instead.
    UserError if the list cannot be read, omits a video, names an unknown one, or leaves one without a label.
    """
    names = list(names)
    if rule == "none":
        return dict.fromkeys(names, -1), (), []
    if rule != "folders":
        return _labels_of_list(location(rule), names)
    label_of: Mapping[str, str | None] = given or dict(zip(names, class_folder(names), strict=True))
    classes = tuple(sorted({label for label in label_of.values() if label is not None}))
    # A number is an id where it was given as the label; as the name of a folder it is a name, such as a date.
    ids, classes = class_ids(classes, base=0) if given else (numbered(classes), classes)
    return {name: ids.get(label_of.get(name) or "", -1) for name in names}, classes, []


def _labels_of_list(path: Path | str, names: list[str]) -> tuple[dict[str, int], tuple[str, ...], list[str]]:
    """Return class ids, class names and notes from a list that must label every name."""
    if not is_url(path) and not Path(path).is_file():
        raise UserError(f"--labels {str(path)!r}: no such file; give folders, none, or a list such as a CSV")
    lists = read_lists(path)
    if len(lists.entries) > 1:
        raise UserError(f"{path} holds {len(lists.entries)} lists; --labels takes one list of all videos")
    (readings,) = lists.entries.values()
    way, rows = match(Names(names), [reading.names for reading in readings], path)
    reading = readings[way]
    labels = label_column(reading) or (reading.columns[0] if len(reading.columns) == 1 else None)
    if labels is None:
        raise UserError(f"{path} has no labels ({NEED}); its first video is {printable(reading.names[0])!r}")
    if unknown := [name for name, row in zip(reading.names, rows, strict=True) if row is None]:
        raise UserError(
            f"{path} has labels for {counted(len(unknown), 'video')} that the sources do not hold: "
            f"{first_names(unknown)}{encoding_hint(unknown)}"
        )
    held = [names[row] for row in rows if row is not None]
    listed = Listed(path, held, [label or "" for label in labels], frozenset(filter(None, labels)))
    label_of, classes = classes_of_lists([listed], makers=lists.class_names)
    if left := [name for name in names if name not in label_of]:
        raise UserError(f"{path} has no label for {len(left)} of the videos: {first_names(left)}; add a line for each")
    return label_of, classes, [*repeated_note(path, held), *[TIMES] * reading.parts, *base_note(path, classes, classes)]


def repeated_note(path: Path | str | None, names: Sequence[str]) -> list[str]:
    """Return a note on the videos that a list names again; else []."""
    again = [name for name, count in Counter(names).items() for _ in range(count - 1)]
    lines = f"{len(again)} of {counted(len(names), 'line')} of {path} name a video again, such as"
    return [f"{lines} {printable(again[0])}"] if again else []


def label_column(reading: Reading, num_frames: NDArray[np.integer] | None = None) -> Sequence[str | None] | None:
    """Return the labels of a reading, in Unicode's composed form; None if it has none, or if they are ambiguous.

    A column of numbers can be labels if it starts at 0 or 1 and does not count the videos' frames (`num_frames`, 0 if
    unknown). Of two such columns, one that is the same on all lines is no labels: it may be the first frame. Else the
    labels are the one that is constant within each folder, else the one with fewer distinct values.
    """
    if reading.labels is not None:
        return [label and normalize("NFC", label) for label in reading.labels]
    likely = [column for column in reading.columns if _may_be_classes(column, num_frames)]
    if len(likely) > 1:
        likely = [column for column in likely if len(set(column)) > 1] or likely
        folders = [name.rpartition("/")[0] for name in reading.names]
        by_folder = [column for column in likely if len({*zip(folders, column, strict=True)}) == len({*folders})]
        likely = by_folder if len(by_folder) == 1 and len({*folders}) < len(folders) else likely
    likely.sort(key=lambda column: len(set(column)))
    if not likely or (len(likely) > 1 and len(set(likely[0])) == len(set(likely[1]))):
        return None
    return likely[0]


def _may_be_classes(column: Sequence[str], num_frames: NDArray[np.integer] | None) -> bool:
    numbers = np.array([float(text or -1) for text in column])
    if num_frames is not None and len(numbers):
        known = num_frames > 0
        if known.any() and (np.abs(numbers - num_frames)[known] <= 2).mean() >= COUNTS_ALIKE:
            return False
    return bool(len(numbers)) and bool(numbers.min() <= 1)
