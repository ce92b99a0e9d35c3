"""The videos that a command works on, with the classes of their list."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from configs.errors import UserError, printable
from configs.words import counted
from dali_pipelines.datasets.classes import Listed, base_note, classes_of_lists
from dali_pipelines.datasets.fates import QUARANTINE_FILE, summary
from dali_pipelines.datasets.formats.table import NEED
from dali_pipelines.datasets.labels import TIMES, repeated_note
from dali_pipelines.store.index import Index
from dali_pipelines.store.storage import joined

if TYPE_CHECKING:  # tasks import DALI, which `prepare` and `lists` do without
    from dali_pipelines.tasks import Task


@dataclass(frozen=True, eq=False)
class Dataset:
    """The videos of a prepared dataset that a command works on, and the fates of the others.

    Attributes:
        index: the videos that are taken, in the order of the list.
        list_file: the list; None if all videos of the dataset are taken.
        quarantined: the listed videos that `prepare` could not use: name in the list -> reason.
        too_short: the videos with fewer frames than a task needs: name -> reason.
        missing: the listed names without a video in the dataset, if that is allowed.
        labels: the label of each video, as written in the list; None if the list has none.
        classes: all labels of the list, even of missing videos, so class ids do not depend on what is missing.
        parts: whether the list states times, which are not read.
        notes_of_all: sentences about the dataset as a whole.
    """

    index: Index
    list_file: Path | str | None = None
    quarantined: Mapping[str, str] = field(default_factory=dict)
    too_short: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()
    labels: tuple[str | None, ...] | None = field(default=None, repr=False)
    classes: frozenset[str] = field(default=frozenset(), repr=False)
    parts: bool = False
    notes_of_all: tuple[str, ...] = ()

    @property
    def notes(self) -> list[str]:
        """Return sentences on the list's quarantined, missing and repeated videos, on its times and its classes."""
        count = len(self.quarantined) + len(self.missing) + len(self.index)
        total = f"of {counted(count, 'video')} of {self.list_file}"
        quarantined = summary("quarantined", self.quarantined, joined(self.index.root, QUARANTINE_FILE), total=total)
        missing = summary("missing", dict.fromkeys(self.missing, ""), None, total=total)
        again = repeated_note(self.list_file, self.index.names.texts()) if self.list_file else []
        repeated = [f"{note}: it is taken, whole, as often as it is listed" for note in again]
        return [*quarantined, *missing, *repeated, *[TIMES] * self.parts, *self.notes_of_all]

    def long_enough(self, task: "Task") -> "Dataset":
        """Leave out the videos with fewer frames than the task needs; UserError if none is left."""
        names, num_frames = self.index.names, self.index.num_frames
        short = num_frames < task.min_frames
        if len(short) and short.all():
            raise UserError(
                f"no video of {self.index.root} has the {task.min_frames} frames that {task.name} needs, the longest "
                f"has {self.index.num_frames.max()}: choose a shorter clip or stride under plan, or longer videos"
            )
        if not short.any():
            return self
        needed = f"{task.name} needs {task.min_frames}"
        too_short = {
            names.text(row): f"it has {counted(num_frames[row], 'frame')}, {needed}"
            for row in np.flatnonzero(short).tolist()
        }
        return replace(self, index=self.index.select(np.flatnonzero(~short)), too_short=too_short)


def with_classes_of_lists(dataset: Dataset, others: Sequence[Dataset]) -> Dataset:
    """Give the videos the classes of their list; all lists share one set of classes."""
    label_of, classes = classes_of_lists([labels_of(each) for each in (dataset, *others)])
    labels = np.array([label_of[name] for name in dataset.index.names.texts()], np.int64)
    index = dataset.index.with_columns(labels=labels, class_names=classes)
    return replace(dataset, index=index, notes_of_all=tuple(base_note(dataset.list_file, classes, classes)))


def labels_of(dataset: Dataset) -> Listed:
    """Return the labels of a dataset's list; UserError if it has none."""
    index = dataset.index
    if dataset.list_file is None or dataset.labels is None:
        raise UserError(
            f"{index.root} has {counted(len(index), 'video')} without a class, the first "
            f"{printable(index.names.text(0))}, and {dataset.list_file} has no labels ({NEED}); write classes into the "
            "dataset with `clipfeed lists`, or prepare it with --labels"
        )
    labels = [label or "" for label in dataset.labels]
    return Listed(dataset.list_file, index.names.texts(), labels, dataset.classes)
