"""Indexes of videos that do not exist, for tests of names and classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from dali_pipelines.store.index import Index
from tests.dali_pipelines.store.test_index import record


def build(root: Path, *names: str, classes: Mapping[str, str] | None = None, frames: Sequence[int] = ()) -> Index:
    """Write the index of these videos, in the order of their names; `classes` gives each its class."""
    class_names = sorted({*(classes or {}).values()})
    labels = {name: class_names.index(of) for name, of in classes.items()} if classes else None
    lengths = dict(zip(names, frames or [5] * len(names), strict=True))
    records = {name: record(frames=(length,), sizes=(10,)) for name, length in lengths.items()}
    index = Index.build(root, records, labels=labels, class_names=class_names)
    index.save()
    return index
