"""A root and a list become a dataset: the videos that are taken, and why the others are not."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.errors import UserError, first_names, shown
from dali_pipelines.datasets.fates import QUARANTINE_FILE, read_quarantine, summary
from dali_pipelines.datasets.formats import Entry, Reading, read_lists
from dali_pipelines.store.index import Index

if TYPE_CHECKING:  # tasks import DALI, which `prepare` and `lists` do without
    from dali_pipelines.tasks import Task


@dataclass(frozen=True)
class Dataset:
    """The videos of a prepared dataset that a command works on, and the fates of the others.

    Attributes:
        index: the videos that are taken, in the order of the list.
        list_file: the list; None where all videos of the dataset are taken.
        quarantined: the listed videos that `prepare` could not use: name in the list -> reason.
        too_short: the videos with fewer frames than a task needs: name -> reason.
    """

    index: Index
    list_file: Path | None = None
    quarantined: Mapping[str, str] = field(default_factory=dict)
    too_short: Mapping[str, str] = field(default_factory=dict)

    @property
    def notes(self) -> list[str]:
        """Return a sentence that names the quarantined videos of the list; none where there are none."""
        total = f"of {len(self.quarantined) + len(self.index)} videos of {self.list_file}"
        return summary("quarantined", self.quarantined, Path(self.index.root, QUARANTINE_FILE), total=total)

    def long_enough(self, task: "Task") -> "Dataset":
        """Leave out the videos with fewer frames than the task needs; UserError when none is left."""
        short = self.index.num_frames < task.min_frames
        if short.all():
            raise UserError(
                f"no video of {self.index.root} has the {task.min_frames} frames that {task.name} needs, the longest "
                f"has {self.index.num_frames.max()}: choose a shorter clip or stride under plan, or longer videos"
            )
        if not short.any():
            return self
        needed = f"{task.name} needs {task.min_frames}"
        too_short = {
            self.index.names.text(row): f"it has {self.index.num_frames[row]} frames, {needed}"
            for row in np.flatnonzero(short).tolist()
        }
        return replace(self, index=self.index.select(np.flatnonzero(~short)), too_short=too_short)


def open_dataset(root: str | Path, list_file: str | Path | None = None, *, labeled: bool = False) -> Dataset:
    """Open a prepared dataset, or the part of it that a list names, in the order of the list.

    Listed videos that are in the quarantine are passed over: one damaged file must not make a list useless.

    Args:
        list_file: a file in any of `dali_pipelines.datasets.formats`.
        labeled: whether all videos must have a class, and the list's own labels, if any, must fit to the classes.

    Raises:
        UserError: no dataset; a list that cannot be read, or that names videos which are neither in the dataset nor in
            its quarantine; videos without a class, or of other classes than the list's labels.
    """
    dataset = Dataset(Index.load(root))
    labels: list[str | None] = []
    if list_file is not None:
        lists = list(read_lists(Path(list_file)).entries.values())
        if len(lists) > 1:
            raise UserError(f"{list_file} holds {len(lists)} lists: write them with `python -m dali_pipelines.lists`")
        dataset, labels = select(dataset.index, lists[0], Path(list_file))
    if labeled:
        _require_labels(dataset, labels)
    return dataset


def select(index: Index, entries: Sequence[Entry], list_file: Path) -> tuple[Dataset, list[str | None]]:
    """Return the videos that the entries of a list name, and the label that each has there; UserErrors as above."""
    if not entries:
        raise UserError(f"{list_file} names no videos; it takes one name a line")
    row_of = {name: row for row, name in enumerate(index.names.texts())}
    found = [_find(entry, row_of) for entry in entries]
    lost = [entry for entry, reading in zip(entries, found, strict=True) if reading is None]
    reason_of = read_quarantine(index.root) if lost else {}
    quarantined: dict[str, str] = {}
    missing = []
    for entry in lost:
        if reading := _find(entry, reason_of):
            quarantined[reading.name] = reason_of[reading.name]
        else:
            missing.append(entry[-1].name)
    if missing:
        raise UserError(
            f"{list_file} names {len(missing)} videos that {index.root} does not hold ({first_names(missing)}), nor "
            f"its {QUARANTINE_FILE}: prepare them from the folder below which they have these names, or take them off "
            "the list"
        )
    listed = [reading for reading in found if reading is not None]
    rows = [row_of[reading.name] for reading in listed]
    dataset = Dataset(index.select(rows), list_file, quarantined)
    if not rows:
        raise UserError(f"nothing is left of the list: {dataset.notes[0]}")
    return dataset, [reading.label for reading in listed]


def _find(entry: Entry, names: Container[str]) -> Reading | None:
    """Return the reading of an entry whose name is among `names`, with its suffix or without."""
    stems = (reading._replace(name=reading.name.rpartition(".")[0]) for reading in entry)
    readings = (*entry, *stems)
    name = next((reading.name for reading in readings if reading.name in names), None)
    return next((reading for reading in reversed(readings) if reading.name == name), None)  # the last has the label


def _require_labels(dataset: Dataset, labels: Sequence[str | None]) -> None:
    """Check that all videos have a class, and that the labels of the list, if any, tell as many classes apart."""
    index = dataset.index
    unlabeled = np.flatnonzero(index.labels < 0)
    if len(unlabeled):
        raise UserError(
            f"{index.root} has {len(unlabeled)} videos without a class, the first "
            f"{shown(index.names.text(unlabeled[0]))}; prepare it again with --labels folders or a CSV, or "
            "run dali_pipelines.lists for Something-Something v1"
        )
    listed, held = len(set(labels)), len(np.unique(index.labels))
    if labels and all(label is not None and label.isdecimal() for label in labels) and listed != held:
        raise UserError(
            f"{dataset.list_file} tells {listed} classes apart, {index.root} has {held} for its videos: they are of "
            "different datasets, or the dataset was prepared with other labels"
        )
