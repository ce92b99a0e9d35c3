"""Records of videos as the rows of an index, and back."""

from collections.abc import Iterable, Mapping
from typing import cast

import numpy as np

from dali_pipelines.store.ragged import Ragged
from dali_pipelines.store.record import Container, Record
from dali_pipelines.store.table import Table
from dali_pipelines.store.units import PackedFragments


def table_of(records: Mapping[str, Record], *, labels: Mapping[str, int] | None, class_names: Iterable[str]) -> Table:
    """Return a table of records by name, with rows sorted by name.

    Args:
        labels: class id by name; None if no video has one.
    """
    names = sorted(records)
    rows = [records[name] for name in names]
    kinds = [f"{r.codec} {r.pix_fmt} {r.container}" for r in rows]
    formats = sorted(set(kinds))
    return Table.of(
        class_names=tuple(class_names),
        labels=np.array([labels[name] if labels else -1 for name in names], np.int64),
        num_frames=np.array([r.num_frames for r in rows], np.int64),
        sizes_WH=np.array([(r.width, r.height) for r in rows], np.int64).reshape(-1, 2),
        fps=np.array([r.fps for r in rows], np.float64),
        formats=tuple(formats),
        format_ids=np.array([formats.index(kind) for kind in kinds], np.int64),
        init_sizes=np.array([r.init_size for r in rows], np.int64),
        names=Ragged.of_texts(names),
        sources=Ragged.of_distinct(r.source for r in rows),
        fragments=Ragged.of_bytes(PackedFragments.of(r.fragments).table for r in rows),
        software_only=Ragged.of_distinct(r.software_only for r in rows),
    )


def record_at(table: Table, row: int) -> Record:
    """Return the record of a row, without the notes, which a table does not keep."""
    width, height = table.sizes_WH[row].tolist()
    codec, pix_fmt, container = table.formats.text(int(table.format_ids[row])).split()
    return Record(
        num_frames=int(table.num_frames[row]),
        width=width,
        height=height,
        fps=float(table.rates[table.rate_ids[row]]),
        codec=codec,
        pix_fmt=pix_fmt,
        init_size=int(table.init_sizes[row]),
        fragments=PackedFragments(table.fragments[row].tobytes()),
        container=cast(Container, container),
        source=table.sources.text(row),
        software_only=table.software_only.text(row),
    )
