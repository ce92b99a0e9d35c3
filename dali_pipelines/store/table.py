"""Write, map and check the columns of an index file, which a stranger may have written."""

import mmap
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from configs.errors import UserError, shown
from configs.words import counted
from dali_pipelines.store.npz import Buffer, read_npz, write_npz
from dali_pipelines.store.ragged import Ragged, narrowed

VERSION = 2
MAX_CLASSES = 1 << 20
MAX_SIDE = (1 << 16) - 1  # pixels

Column = NDArray[Any]

Container = Literal["mp4", "file", "pictures", "picture_files"]
"""What the fragments of a video are.

mp4: consecutive fragments of an MP4, after its init segment.
file: a single one, a whole video file of any kind.
pictures: JPEGs or PNGs, each a range of one file.
picture_files: JPEGs or PNGs, each a file with a numbered name.
"""

Fingerprint = tuple[int, int, int]
"""Inode, size and modification time, which distinguish a file from one that replaces it."""


@dataclass(frozen=True, eq=False)
class Table:
    """N videos, one per row. Integers have the narrowest dtype that holds them.

    Attributes:
        labels: (N,), class ids, -1 for none.
        num_frames, init_sizes: (N,).
        sizes_WH: (N, 2).
        rates, rate_ids: float64 (R,), the distinct rates in frames per second; (N,), indices into them.
        formats, format_ids: texts of codec, pixel format and container, "h264 yuv420p mp4"; (N,), indices into them.
        names, sources, software_only: texts, as in `Record`.
        fragments: uint8, the table of each video's fragments (`units`).
        made_at: one text, the folder that the index was written to; None if all its videos are below it.
        origin: the file from which the columns are mapped; a pickle then only names it.
    """

    labels: Column
    num_frames: Column
    sizes_WH: Column
    rates: Column
    rate_ids: Column
    format_ids: Column
    init_sizes: Column
    names: Ragged
    sources: Ragged
    fragments: Ragged
    class_names: Ragged
    formats: Ragged
    software_only: Ragged
    made_at: Ragged | None = None
    origin: tuple[str, Fingerprint] | None = field(default=None, compare=False)

    def __reduce__(self) -> tuple[Any, ...]:
        if self.origin:
            return map_again, self.origin
        return Table, tuple(getattr(self, each.name) for each in fields(self))

    @classmethod
    def of(cls, **columns: Any) -> "Table":
        """Make a table from arrays of any integers, tuples of texts, and `fps` of each row."""
        columns["rates"], columns["rate_ids"] = np.unique(columns.pop("fps"), return_inverse=True)
        for name, column in columns.items():
            if isinstance(column, tuple):
                columns[name] = Ragged.of_texts(column)
            elif isinstance(column, np.ndarray) and column.dtype.kind in "iu":
                columns[name] = narrowed(column)
        return cls(**columns)

    @classmethod
    def map(cls, path: Path | str) -> "Table":
        """Map the columns of a file, unchecked; OSError, or an Exception of any kind if it holds no index."""
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        origin = os.path.abspath(path), (status.st_ino, status.st_size, status.st_mtime_ns)
        return cls.read(data, origin)

    @classmethod
    def read(cls, data: Buffer, origin: tuple[str, Fingerprint] | None = None) -> "Table":
        """Return the columns of a file as views of its bytes, unchecked; Exceptions as in `map`."""
        arrays = read_npz(data)
        version = arrays.pop("version").item()
        if version != VERSION:
            raise ValueError(f"it has format {version}, not {VERSION}")
        columns: dict[str, Any] = {
            name: Ragged(array, arrays[f"{name}.starts"], arrays.get(f"{name}.rows"))
            if f"{name}.starts" in arrays
            else array
            for name, array in arrays.items()
            if "." not in name
        }
        return cls(**columns, origin=origin)

    def format(self, row: int) -> tuple[str, str, Container]:
        """Return the codec, the pixel format and the container of a row."""
        codec, pix_fmt, container = self.formats.text(int(self.format_ids[row])).split()
        return codec, pix_fmt, cast(Container, container)

    def write(self, file: BinaryIO) -> None:
        """Write the columns as an .npz file."""
        arrays: dict[str, Column] = {"version": np.array([VERSION])}
        for name in (each.name for each in fields(self) if each.name != "origin"):
            value = getattr(self, name)
            if isinstance(value, Ragged):
                value = value.compacted()
                arrays |= {name: value.values, f"{name}.starts": value.starts}
                if value.rows is not None:
                    arrays[f"{name}.rows"] = value.rows
            elif value is not None:
                arrays[name] = value
        write_npz(file, arrays)

    def checked(self) -> "Table":
        """Validate and return the table; ValueError if it is inconsistent, UserError for a name that leads outside."""
        rows = len(self.labels)
        for name in ("names", "sources", "fragments", "software_only"):
            _check_texts(name, getattr(self, name), rows)
        for name in ("class_names", "formats"):
            _check_texts(name, getattr(self, name))
        if self.made_at is not None:
            _check_texts("made_at", self.made_at, 1)
        for name, least, most in (
            ("labels", -1, len(self.class_names) - 1 if len(self.class_names) else MAX_CLASSES),
            ("num_frames", 1, 2**31 - 1),
            ("sizes_WH", 1, MAX_SIDE),
            ("rate_ids", 0, len(self.rates) - 1),
            ("format_ids", 0, len(self.formats) - 1),
            ("init_sizes", 0, 2**31 - 1),
        ):
            column, shape = getattr(self, name), (rows, 2) if name == "sizes_WH" else (rows,)
            if not _within(column, least, most) or column.shape != shape:
                raise ValueError(f"{name} has {column.dtype} {column.shape}, or numbers beyond {least} to {most}")
        if self.rates.dtype != np.float64 or not ((self.rates > 0) & (self.rates < np.inf)).all():
            raise ValueError("it has frames a second that are no rates")
        for text in self.formats.texts():
            if len(text.split()) != 3 or text.split()[2] not in get_args(Container) or not text.isprintable():
                raise ValueError(f"it has a format {text!r}")
        _check_names(self.names)
        if b"\0" in self.sources.values.tobytes():
            raise ValueError("a source has a byte 0 in its path")
        return self


def map_again(path: str, fingerprint: Fingerprint) -> Table:
    """Map a file that another process has mapped; UserError if it was replaced since."""
    gone = f"{path} was replaced while it was in use: start the command again, it takes the new index"
    try:
        table = Table.map(path)
    except Exception as error:
        raise UserError(gone) from error
    if table.origin is None or table.origin[1] != fingerprint:
        raise UserError(gone)
    return table


def _check_texts(name: str, ragged: Any, count: int | None = None) -> None:
    """Raise ValueError unless the rows of `ragged`, `count` of them, are bytes within its values."""
    if not isinstance(ragged, Ragged) or ragged.values.dtype != np.uint8 or ragged.values.ndim != 1:
        raise ValueError(f"{name} is not text")
    starts, rows = ragged.starts, ragged.rows
    if not (len(starts) and _within(starts, 0, len(ragged.values)) and starts.ndim == 1):
        raise ValueError(f"{name} starts beyond its {len(ragged.values)} bytes")
    if starts[0] != 0 or starts[-1] != len(ragged.values) or (starts[1:] < starts[:-1]).any():
        raise ValueError(f"the rows of {name} are out of order")
    if rows is not None and not (_within(rows, 0, len(starts) - 2) and rows.ndim == 1):
        raise ValueError(f"{name} has {counted(len(starts) - 1, 'text')} and rows of others")
    if count is not None and len(ragged) != count:
        raise ValueError(f"{name} has {counted(len(ragged), 'row')} and not {count}")


def _within(column: Column, least: int, most: int) -> bool:
    if column.dtype.kind not in "iu":
        return False
    return not column.size or (int(column.min()) >= least and int(column.max()) <= most)


def _check_names(names: Ragged) -> None:
    """Reject names with which a stranger's index would lead out of the dataset's folder."""
    data, starts = names.values.tobytes(), names.starts
    begins = names.values[starts[:-1][starts[1:] > starts[:-1]]]
    if not (b"\0" in data or b".." in data or (begins == ord("/")).any()):
        return
    for name in Ragged(names.values, starts).texts():
        if name.startswith("/") or "\0" in name or ".." in name.split("/"):
            raise UserError(f"its video {shown(name)!r} would lie outside of the dataset: do not use it")
