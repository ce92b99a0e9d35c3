"""Read the classes of videos from their folders or from a list."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError, first_names, printable
from configs.words import counted
from dali_pipelines.datasets.formats import Reading, is_number, read_lists
from dali_pipelines.datasets.layouts import class_folder
from dali_pipelines.datasets.names import Names, encoding_hint, match

MAX_CLASSES = 10**6
MAX_DIGITS = 19
SEVERAL = re.compile(r"\d+([,;|]\d+)+")
"""Several class ids in place of one."""
COUNTS_ALIKE = 0.9  # a column is frame counts if so many are within 2 of the videos': tools count differently


def read_labels(
    rule: str, names: Iterable[str], *, given: Mapping[str, str] | None = None
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the class id of each name (-1: none) and the class names.

    By `rule`, classes come from "folders" (the first level that is not a split), "none", or the path of a list with
    labels. `given` are labels that came with some of the videos: if there are any, "folders" uses them instead.
    UserError if the list cannot be read, omits a video, names an unknown one, or leaves one without a label.
    """
    names = list(names)
    if rule == "none":
        return dict.fromkeys(names, -1), ()
    if rule == "folders" and given:
        ids, class_names = class_ids(given.values(), base=0)
        return {name: ids[given[name]] if name in given else -1 for name in names}, class_names
    if rule == "folders":
        of_name = class_folder(names)
        classes = sorted({name for name in of_name if name is not None})
        ids = {name: number for number, name in enumerate(classes)}
        return {name: -1 if of is None else ids[of] for name, of in zip(names, of_name, strict=True)}, tuple(classes)
    return _labels_of_list(Path(rule), names)


def _labels_of_list(path: Path, names: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return class ids and class names from a list that must label every name."""
    if not path.is_file():
        raise UserError(f"--labels {str(path)!r}: no such file; give folders, none, or a list such as a CSV")
    lists = read_lists(path)
    readings = [reading for ways in lists.entries.values() for reading in ways]
    if len(lists.entries) > 1:
        raise UserError(f"{path} holds {len(lists.entries)} lists; --labels takes one list of all videos")
    if not readings or not readings[0].names:
        raise UserError(f"{path} names no videos; a line is name,label")
    way, rows = match(Names(names), [reading.names for reading in readings], path)
    reading = readings[way]
    labels = label_column(reading) or (reading.columns[0] if len(reading.columns) == 1 else None)
    if labels is None:
        raise UserError(f"{path}: a line must be name,label and not {printable(reading.names[0])!r}")
    if unknown := [name for name, row in zip(reading.names, rows, strict=True) if row is None]:
        raise UserError(
            f"{path} has labels for {counted(len(unknown), 'video')} that the sources do not hold: "
            f"{first_names(unknown)}{encoding_hint(unknown)}"
        )
    held = [names[row] for row in rows if row is not None]
    require_labels(path, held, labels)
    text_of = {name: label or "" for name, label in zip(held, labels, strict=True)}
    if left := [name for name in names if name not in text_of]:
        raise UserError(f"{path} has no label for {len(left)} of the videos: {first_names(left)}; add a line for each")
    ids, classes = class_ids(text_of.values(), lists.class_names)
    return {name: ids[text_of[name]] for name in names}, classes


def require_labels(path: Path | str, names: Sequence[str], labels: Sequence[str | None]) -> None:
    """Raise UserError unless every video of a list has one class: not an empty label, a negative or several ids."""
    of: dict[str, str] = {}
    for name, label in zip(names, labels, strict=True):
        if not label:
            raise UserError(f"{path} has an empty label for {printable(name)}")
        if is_number(label) and label.startswith("-"):
            raise UserError(f"{path} has the label {label} for {printable(name)}: class ids are 0 or more")
        if SEVERAL.fullmatch(label):
            raise UserError(
                f"{path} has several labels for {printable(name)}, {printable(label)}: a video has one class"
            )
        if (first := of.setdefault(name, label)) != label:
            raise UserError(f"{path} has two labels for {printable(name)}: {printable(first)} and {printable(label)}")


def class_ids(
    labels: Iterable[str], makers: Sequence[str] = (), *, base: int | None = None
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the class id of each label, and the class names.

    Names get ids in the order of the dataset's `makers`, which has them all, else sorted. Integers are ids, the first
    class being `base`; None: 0 if any label is 0, else 1.
    """
    distinct = set(labels)
    if makers or not all(map(is_number, distinct)):
        classes = tuple(normalize("NFC", name) for name in makers) or tuple(sorted(distinct))
        return {name: number for number, name in enumerate(classes)}, classes
    numbers = {label: int(label) for label in distinct if len(label) < MAX_DIGITS}
    largest = max(distinct, key=lambda label: numbers.get(label, MAX_CLASSES))
    if numbers.get(largest, MAX_CLASSES) >= MAX_CLASSES:
        raise UserError(f"the class id {printable(largest)} is not below {MAX_CLASSES}")
    if base is None:
        base = int(min(numbers.values(), default=0) > 0)
    ids = {label: number - base for label, number in numbers.items()}
    return ids, tuple(str(number) for number in range(base, max(numbers.values(), default=-1) + 1))


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


def one_to_one(labels: Sequence[str], classes: Sequence[int]) -> bool:
    """Tell whether labels and classes correspond one to one."""
    pairs = set(zip(labels, classes, strict=True))
    return len(pairs) == len(set(labels)) == len(set(classes))


def base_note(path: Path | str | None, labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return a note on which class label 1 is, if the labels start at 1; else []."""
    numbers = [int(label) for label in labels if is_number(label) and len(label) < MAX_DIGITS]
    if len(numbers) < len(labels) or not numbers or min(numbers) != 1:
        return []
    return [f"the labels of {path} start at 1; here class ids start at 0, and its label 1 is class {names[0]!r}"]
