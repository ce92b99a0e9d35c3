"""The classes of videos: by their folders, or from a CSV file."""

import csv
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from configs.errors import UserError, first_names

MOST_CLASSES = 10**6


def read_labels(
    rule: str, names: Iterable[str], *, given: Mapping[str, str] | None = None
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the class id of each name (-1: none) and the class names.

    Args:
        rule: "folders" (the first level is the class), "none", or the path of a CSV file.
        given: labels that came with some of the videos: by "folders", where there are any, they are the classes.
    """
    names = list(names)
    if rule == "none":
        return dict.fromkeys(names, -1), ()
    if rule == "folders" and given:
        ids, class_names = _ids(given)
        return {name: ids.get(name, -1) for name in names}, class_names
    if rule == "folders":
        classes = sorted({name.split("/")[0] for name in names if "/" in name})
        ids = {class_name: number for number, class_name in enumerate(classes)}
        return {name: ids[name.split("/")[0]] if "/" in name else -1 for name in names}, tuple(classes)
    return _labels_from_csv(Path(rule), names)


def _labels_from_csv(path: Path, names: list[str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Read lines `name,label` with an optional header; labels are all integers, or class names sorted into ids."""
    try:
        with path.open(newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"cannot read the labels {str(path)!r} (folders, none or a CSV file): {error}") from error
    if rows and rows[0] == ["name", "label"]:
        del rows[0]
    wrong = next((row for row in rows if len(row) != 2), None)
    if wrong is not None:
        raise UserError(f"{path}: a line must be name,label and not {','.join(wrong)!r}")
    return _ids(_match({name: label.strip() for name, label in rows}, names, path))


def _ids(texts: Mapping[str, str]) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return labels that are all integers as they are, else ids of the sorted class names; and the class names."""
    if all(text.isdecimal() for text in texts.values()):
        labels = {name: int(text) for name, text in texts.items()}
        if (most := max(labels.values())) > MOST_CLASSES:
            raise UserError(f"{most} is no class id: they count from 0, and {MOST_CLASSES} are the most")
        return labels, tuple(str(number) for number in range(max(labels.values()) + 1))
    classes = sorted(set(texts.values()))
    ids = {text: number for number, text in enumerate(classes)}
    return {name: ids[text] for name, text in texts.items()}, tuple(classes)


def _match(texts: Mapping[str, str], names: list[str], path: Path) -> dict[str, str]:
    """Return the label of each name; UserError when the file leaves one out or names one that does not exist."""
    expected = set(names)
    matched = {name if name in expected else os.path.splitext(name)[0]: text for name, text in texts.items()}
    for problem, wrong in (
        ("has labels for {} videos that are not there", matched.keys() - expected),
        ("has no label for {} of the videos", expected - matched.keys()),
    ):
        if wrong:
            raise UserError(f"{path} {problem.format(len(wrong))}: {first_names(sorted(wrong))}")
    return matched
