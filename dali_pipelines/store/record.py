"""The record of one stored video, also as a row of an index."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from dali_pipelines.store.ragged import Ragged
from dali_pipelines.store.table import Container, Table
from dali_pipelines.store.units import PackedFragments


class ClipError(Exception):
    """The bytes of a clip are missing, or do not decode to the frames of the index."""


@dataclass(frozen=True)
class Record:
    """One stored video.

    Attributes:
        init_size: bytes of an MP4's init segment, else 0.
        container: how `fragments` are stored.
        source: path or URL of a file left in place (the first one, for picture files), or path of a shard below the
            root; else empty.
        notes: messages to the user, printed after "N videos".
        software_only: why DALI on a GPU would show other frames than FFmpeg, such as "interlaced frames"; else empty.
    """

    num_frames: int
    width: int
    height: int
    fps: float
    codec: str
    pix_fmt: str
    init_size: int
    fragments: PackedFragments
    container: Container = "mp4"
    source: str = ""
    notes: tuple[str, ...] = ()
    software_only: str = ""

    @property
    def size(self) -> int:
        """Return how many bytes are read to decode it all."""
        return self.init_size + self.fragments.size


def table_of(records: Mapping[str, Record], *, labels: Mapping[str, int] | None, class_names: Iterable[str]) -> Table:
    """Return a table of records by name, with rows sorted by name. `labels` is None if no video has a class."""
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
        fragments=Ragged.of_bytes(r.fragments.table for r in rows),
        software_only=Ragged.of_distinct(r.software_only for r in rows),
    )


def record_at(table: Table, row: int) -> Record:
    """Return the record of a row, without the notes, which a table does not keep."""
    width, height = table.sizes_WH[row].tolist()
    codec, pix_fmt, container = table.format(row)
    return Record(
        num_frames=int(table.num_frames[row]),
        width=width,
        height=height,
        fps=float(table.rates[table.rate_ids[row]]),
        codec=codec,
        pix_fmt=pix_fmt,
        init_size=int(table.init_sizes[row]),
        fragments=PackedFragments(table.fragments[row].tobytes()),
        container=container,
        source=table.sources.text(row),
        software_only=table.software_only.text(row),
    )
