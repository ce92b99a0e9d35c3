"""Number the classes of a dataset, and check the labels of lists against them."""

import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple
from unicodedata import normalize

import numpy as np

from configs.errors import UserError, printable
from configs.words import counted
from dali_pipelines.datasets.formats import is_number
from dali_pipelines.store.index import Index

MAX_CLASSES = 10**6
MAX_DIGITS = 19
SEVERAL = re.compile(r"\d+([,;|]\d+)+")
"""Several class ids in place of one."""


class Listed(NamedTuple):
    """The labels that a list gives to the videos of a dataset.

    names: of the videos, as the dataset has them. labels: one each, empty if the list has none for it.
    classes: all labels of the list, even of missing videos, so class ids do not depend on what is missing.
    """

    path: Path | str
    names: Sequence[str]
    labels: Sequence[str]
    classes: frozenset[str]


def classes_of_lists(
    lists: Sequence[Listed], *, makers: Sequence[str] = (), known: Sequence[str] = ()
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the class id of each listed video, and the class names, which all lists share.

    The `known` classes of the dataset are kept if they include all labels; otherwise as in `class_ids`. UserError if a
    video has no class or several, or if one list has class ids and another one class names.
    """
    for listed in lists:
        _require_labels(listed)
    distinct = {label for listed in lists for label in listed.classes}
    of_kind = {all(map(is_number, listed.classes)): listed.path for listed in lists}
    if distinct <= {*known}:
        ids, classes = numbered(known), tuple(known)
    elif len(of_kind) > 1:
        raise UserError(f"{of_kind[True]} has class ids, {of_kind[False]} has class names: write the same in both")
    else:
        ids, classes = class_ids(distinct, makers)
    label_of: dict[str, str] = {}
    for listed in lists:
        for name, label in zip(listed.names, listed.labels, strict=True):
            if ids[first := label_of.setdefault(name, label)] != ids[label]:
                second = f"{printable(name)}: {printable(label)} after {printable(first)}"
                raise UserError(f"{listed.path} has a second label for {second}; a video has one class")
    return {name: ids[label] for name, label in label_of.items()}, classes


def _require_labels(listed: Listed) -> None:
    """Raise UserError unless each label is one class: not an empty label, a negative id or several ids."""
    for name, label in zip(listed.names, listed.labels, strict=True):
        where = f"for {printable(name)}"
        if not label:
            raise UserError(f"{listed.path} has an empty label {where}")
        if is_number(label) and label.startswith("-"):
            raise UserError(f"{listed.path} has the label {label} {where}: class ids are 0 or more")
        if SEVERAL.fullmatch(label):
            raise UserError(f"{listed.path} has several labels {where}, {printable(label)}: a video has one class")


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
        return numbered(classes), classes
    numbers = {label: int(label) for label in distinct if len(label) < MAX_DIGITS}
    largest = max(distinct, key=lambda label: numbers.get(label, MAX_CLASSES))
    if numbers.get(largest, MAX_CLASSES) >= MAX_CLASSES:
        raise UserError(f"the class id {printable(largest)} is not below {MAX_CLASSES}")
    if base is None:
        base = int(min(numbers.values(), default=0) > 0)
    ids = {label: number - base for label, number in numbers.items()}
    return ids, tuple(str(number) for number in range(base, max(numbers.values(), default=-1) + 1))


def numbered(classes: Iterable[str]) -> dict[str, int]:
    """Return the id of each class: its place."""
    return {name: number for number, name in enumerate(classes)}


def check_classes(index: Index, list_file: Path | str | None, labels: Sequence[str | None]) -> list[str]:
    """Check that all videos have a class, and that the labels of their list, if it has all, correspond to the classes.

    Return a note if the labels start at 1.
    """
    unlabeled = np.flatnonzero(index.labels < 0)
    if len(unlabeled):
        raise UserError(
            f"{index.root} has {counted(len(unlabeled), 'video')} without a class, the first "
            f"{printable(index.names.text(unlabeled[0]))}; prepare it again with --labels folders or a list, or let "
            "`clipfeed lists` write a list and its classes"
        )
    texts, classes, names = [label for label in labels if label], index.labels.tolist(), index.class_names
    if len(texts) < len(index):
        return []
    if one_to_one(texts, classes):
        first = [names[number] for text, number in zip(texts, classes, strict=True) if text.lstrip("0") == "1"]
        return base_note(list_file, texts, first)
    listed, held = len(set(texts)), len(set(classes))
    different = f"has {counted(listed, 'class', 'classes')}, {index.root} has {held} for the same videos"
    if listed == held:
        different = f"groups the videos into other classes than {index.root}"
    raise UserError(
        f"{list_file} {different}: they are of different datasets, or the dataset was prepared with other labels; "
        "`clipfeed lists auto` writes the list's classes into the dataset"
    )


def one_to_one(labels: Sequence[str], classes: Sequence[int]) -> bool:
    """Tell whether labels and classes correspond one to one."""
    pairs = set(zip(labels, classes, strict=True))
    return len(pairs) == len(set(labels)) == len(set(classes))


def base_note(path: Path | str | None, labels: Collection[str], names: Sequence[str]) -> list[str]:
    """Return a note on which class label 1 is, if the labels start at 1; else []."""
    numbers = [int(label) for label in labels if is_number(label) and len(label) < MAX_DIGITS]
    if len(numbers) < len(labels) or not numbers or min(numbers) != 1:
        return []
    return [f"the labels of {path} start at 1; here class ids start at 0, and its label 1 is class {names[0]!r}"]
