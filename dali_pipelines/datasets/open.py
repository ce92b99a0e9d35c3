"""Open a dataset from its root and a list: the videos that are taken, and why the others are not."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from configs.errors import UserError, first_names, printable, require
from configs.schema import Data, LabeledData
from configs.words import counted
from dali_pipelines.datasets.classes import check_classes
from dali_pipelines.datasets.dataset import Dataset, with_classes_of_lists
from dali_pipelines.datasets.fates import QUARANTINE_FILE, read_quarantine
from dali_pipelines.datasets.formats import Reading, read_lists
from dali_pipelines.datasets.labels import label_column
from dali_pipelines.datasets.names import Names, encoding_hint, match
from dali_pipelines.datasets.own_lists import splits_note
from dali_pipelines.store.index import Index
from dali_pipelines.store.storage import exists, is_url, joined

Missing = Literal["error", "skip"]


def open_dataset(
    root: str | Path,
    list_file: str | Path | None = None,
    *,
    labeled: bool = False,
    missing: Missing = "error",
    others: Sequence[Path | str] = (),
) -> Dataset:
    """Open a prepared dataset, or the part of it that a list names, in the order of the list.

    Listed videos that are in the quarantine are passed over: one damaged file must not make a list useless.

    Args:
        root: folder or URL of a prepared dataset.
        list_file: a file in any of the formats of docs/datasets.md; None takes all videos.
        labeled: require a class for every video. A dataset without classes takes the list's; otherwise the list's
            labels must correspond to its classes one to one.
        missing: "skip" also passes over listed videos that the dataset does not have.
        others: further lists with labels of the same classes, such as the test list.

    Raises:
        UserError: there is no dataset; the list cannot be read, or names videos that neither the dataset nor its
            quarantine has; videos have no class, or classes that do not correspond to the list's labels.
        ValueError: `missing` is neither error nor skip, or a path is none.
    """
    require(isinstance(root, str | Path), "root", root, "a folder or a URL")
    require(isinstance(list_file, str | Path | None), "list_file", list_file, "the path of a list")
    require(missing in get_args(Missing), "missing", missing, "error or skip")
    index = Index.load(root)
    if list_file is None:
        dataset = Dataset(index, notes_of_all=tuple(splits_note(root)))
    else:
        dataset = select(index, list_file, missing=missing)
    if not labeled:
        return dataset
    if index.class_names or list_file is None:
        notes = check_classes(dataset.index, dataset.list_file, dataset.labels or ())
        return replace(dataset, notes_of_all=tuple(notes))
    return with_classes_of_lists(dataset, [select(index, other, missing=missing) for other in others])


def open_data(data: Data, subset: Literal["train", "test"] | None = None) -> Dataset:
    """Open the data of a recipe: the videos to pretrain on, or a labeled subset; both subsets share their classes."""
    if not isinstance(data, LabeledData):
        return open_dataset(data.root, joined(data.root, data.list) if data.list else None, missing=data.missing)
    if subset is None:
        return open_dataset(data.root, data.list_of("train"), missing=data.missing)
    of = {part: data.list_of(part) for part in ("train", "test") if part == subset or data.test_list}
    others = [path for part, path in of.items() if part != subset and path is not None and exists(path)]
    return open_dataset(data.root, of[subset], labeled=True, missing=data.missing, others=others)


def select(index: Index, list_file: Path | str, *, missing: Missing = "error") -> Dataset:
    """Return the videos of the only list in a file; UserErrors as in `open_dataset`."""
    if not is_url(list_file) and not Path(list_file).exists():
        raise UserError(
            f"cannot read the list of videos {str(list_file)!r}: it does not exist; name another, or train on all "
            "videos with --set data.list=null"
        )
    lists = read_lists(list_file)
    if len(lists.entries) > 1:
        raise UserError(
            f"{list_file} holds {len(lists.entries)} lists: write them with `clipfeed lists auto "
            f"{list_file} --data-dir {index.root}`"
        )
    (readings,) = lists.entries.values()
    return select_entries(index, readings, list_file, missing=missing)


def select_entries(
    index: Index, readings: Sequence[Reading], list_file: Path | str, *, missing: Missing = "error"
) -> Dataset:
    """Return the videos that a list names, by the reading that finds the most of them."""
    reason_of = read_quarantine(index.root)
    names = Names(index.names.texts(), [*reason_of])
    way, rows = match(names, [reading.names for reading in readings], list_file)
    reading = readings[way]
    absent = [name for name, row in zip(reading.names, rows, strict=True) if row is None]
    if absent and (missing == "error" or len(absent) == len(rows)):
        raise UserError(_absent_message(index, names, absent, list_file, everything=len(absent) == len(rows)))
    reasons = [*reason_of.values()]
    quarantined = {
        name: reasons[row - len(index)]
        for name, row in zip(reading.names, rows, strict=True)
        if row is not None and row >= len(index)
    }
    places = [place for place, row in enumerate(rows) if row is not None and row < len(index)]
    held = index.num_frames  # taken once: each access builds the column anew
    num_frames = np.array([0 if row is None or row >= len(index) else held[row] for row in rows], np.int64)
    labels = label_column(reading, num_frames)
    dataset = Dataset(
        index.select([rows[place] or 0 for place in places]),
        list_file,
        quarantined,
        missing=tuple(absent),
        labels=None if labels is None else tuple(labels[place] for place in places),
        classes=frozenset(filter(None, labels or ())),
        parts=reading.parts,
    )
    if not places:
        raise UserError(f"nothing is left of the list: {dataset.notes[0]}")
    return dataset


def _absent_message(
    index: Index, names: Names, absent: Sequence[str], list_file: Path | str, *, everything: bool
) -> str:
    nearest = names.nearest(absent[0])
    hint = encoding_hint(absent) or (f"; the nearest name there is {printable(nearest)}" if nearest else "")
    way = "" if everything else "; `--set data.missing=skip` (`--missing skip` of clipfeed lists) leaves them out"
    return (
        f"{list_file} names {counted(len(absent), 'video')} that {index.root} does not hold ({first_names(absent)}), "
        f"nor its {QUARANTINE_FILE}{hint}. Names start below the folder that was prepared: prepare the folder "
        f"where the list's names start, or remove them from the list{way}"
    )
