"""Merge the parts of a dataset into its index and its quarantine."""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError
from dali_pipelines.datasets.fates import QUARANTINE_FILE, write_reasons
from dali_pipelines.store.index import Index
from dali_pipelines.store.parts import all_parts, missing, ranges
from dali_pipelines.store.ragged import Ragged


def merge(root: Path) -> tuple[Index, int]:
    """Write the dataset's index and quarantine from those of its parts; return the index and how many are quarantined.

    Raises:
        UserError: a part is not finished, or the parts have not seen the same videos and classes.
    """
    parts = all_parts(root)
    if unfinished := missing(root):
        raise UserError(f"{root}: parts are not finished, run them again (sbatch --array={unfinished}), then --merge")
    done = [part.done(root) for part in parts]
    usual, seen_by = Counter(one["seen"] for one in done).most_common(1)[0]
    if seen_by < len(parts):
        others = ranges(part.first + part.number for part, one in zip(parts, done, strict=True) if one["seen"] != usual)
        counts = " and ".join(map(str, sorted({one["of"] for one in done})))
        raise UserError(
            f"{root}: the parts have not seen the same videos and classes ({counts} videos): run those again that saw "
            f"others than most (sbatch --array={others}), or all, then --merge"
        )
    reasons: dict[str, str] = {}
    for part in parts:
        with (part.folder(root) / QUARANTINE_FILE).open(newline="", errors="surrogateescape") as file:
            reasons |= {row["path"]: row["reason"] for row in csv.DictReader(file)}
    write_reasons(root / QUARANTINE_FILE, dict(sorted(reasons.items())), key="path")
    stored = [part for part, one in zip(parts, done, strict=True) if one["stored"]]
    if not stored:
        raise UserError(f"none of the {done[0]['of']} videos can be used, see {root / QUARANTINE_FILE}")
    index = joined(root, [Index.load(part.folder(root)) for part in stored])
    index.save()
    return index, len(reasons)


def joined(root: Path, indexes: Sequence[Index]) -> Index:
    """Return the videos of several indexes as one index of the dataset `root`, in the order of their names."""
    formats = sorted({text for index in indexes for text in index.formats})
    of_formats = [replace(index, format_ids=_ids(index.formats, formats)[index.format_ids]) for index in indexes]
    fields: dict[str, Any] = {"root": root, "formats": tuple(formats), "class_names": indexes[0].class_names}
    for name, value in vars(indexes[0]).items():
        columns = [getattr(index, name) for index in of_formats]
        if isinstance(value, np.ndarray):
            fields[name] = np.concatenate(columns)
        elif isinstance(value, Ragged):
            fields[name] = _chained(columns)
    index = Index(**fields)
    names = index.names.texts()
    return index.select(sorted(range(len(names)), key=names.__getitem__))


def _ids(formats: Sequence[str], of: Sequence[str]) -> NDArray[np.int32]:
    return np.array([of.index(text) for text in formats], np.int32)


def _chained(columns: Sequence[Ragged]) -> Ragged:
    lengths = np.concatenate([np.diff(column.starts) for column in columns])
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return Ragged(np.concatenate([column.values for column in columns]), starts)
