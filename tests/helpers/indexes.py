"""Indexes of videos that do not exist, for tests of names and classes."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.index import Index
from dali_pipelines.store.record import Record
from dali_pipelines.store.units import PackedFragments


def record(frames=(3, 2), sizes=(10, 20), init_size=5, **other):
    offsets = init_size + np.cumsum([0, *sizes[:-1]])
    fragments = PackedFragments.of([Fragment(int(o), s, n) for o, s, n in zip(offsets, sizes, frames, strict=True)])
    fields = {"width": 64, "height": 48, "fps": 25.0, "codec": "vp9", "pix_fmt": "yuv420p", **other}
    return Record(num_frames=sum(frames), init_size=init_size, fragments=fragments, **fields)


def build(root: Path, *names: str, classes: Mapping[str, str] | None = None, frames: Sequence[int] = ()) -> Index:
    """Write an index of these videos, sorted by name; `classes` maps each name to its class."""
    class_names = sorted({*(classes or {}).values()})
    labels = {name: class_names.index(of) for name, of in classes.items()} if classes else None
    lengths = dict(zip(names, frames or [5] * len(names), strict=True))
    records = {name: record(frames=(length,), sizes=(10,)) for name, length in lengths.items()}
    index = Index.build(root, records, labels=labels, class_names=class_names)
    index.save()
    return index


def quarantine(root: Path, *paths: str) -> None:
    with (root / "quarantine.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "reason"), *((path, "truncated, alas") for path in paths)])


def listing(root: Path, *lines: str) -> Path:
    (root / "list.txt").write_text("\n".join(lines))
    return root / "list.txt"
