"""The index of a prepared dataset: what a plan may know about each video, and where its bytes are."""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from configs.errors import UserError, shown
from configs.words import counted
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.store.files import INDEX_FILE, replacing, video_path
from dali_pipelines.store.no_index import PREPARE, why_no_index
from dali_pipelines.store.ragged import Ragged, narrowed
from dali_pipelines.store.record import ClipError, Record, record_at, table_of
from dali_pipelines.store.storage import is_url, joined, location, read_file, storage_of
from dali_pipelines.store.table import Container, Table
from dali_pipelines.store.trust import outside, require_inside
from dali_pipelines.store.units import Units, unpack_units

NUMBERS = ("labels", "num_frames", "sizes_WH", "format_ids", "init_sizes")
TEXTS = ("names", "sources", "fragments", "software_only")
"""Columns of `Table` with a row for each video."""


@dataclass(frozen=True, eq=False)
class Index:
    """The videos of a dataset, one per row of a table that all processes of a machine share.

    Each access to a column gathers the selected rows anew: read it before a loop, not inside.
    """

    root: Path | str
    """The folder of the dataset, or its URL."""
    table: Table = field(repr=False)
    rows: NDArray[np.integer] | None = field(default=None, repr=False)
    """The selected rows of the table; None for all."""
    chunks: NDArray[np.int32] | None = field(default=None, repr=False)
    """`VideoInfo.chunk` of each row; None if all are 0."""
    opened_in: str = field(default="", repr=False)
    """The folder that a relative `root` is in: the working directory may change. Empty for the current one."""

    def __len__(self) -> int:
        return len(self.table.labels if self.rows is None else self.rows)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, by id."""
        return self.table.class_names.texts()

    @property
    def formats(self) -> tuple[str, ...]:
        """Codec, pixel format and container, as in "h264 yuv420p mp4", by id."""
        return self.table.formats.texts()

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class ids, -1 for none: int64 (N,)."""
        return self.numbers("labels", np.int64)

    @property
    def num_frames(self) -> NDArray[np.int32]:
        """int32 (N,)."""
        return self.numbers("num_frames", np.int32)

    @property
    def sizes_WH(self) -> NDArray[np.int32]:
        """Width and height: int32 (N, 2)."""
        return self.numbers("sizes_WH", np.int32)

    @property
    def fps(self) -> NDArray[np.float64]:
        """Frames per second: float64 (N,)."""
        rates: NDArray[np.float64] = self.table.rates[self.numbers("rate_ids", np.int64)]
        return rates

    @property
    def format_ids(self) -> NDArray[np.int32]:
        """Indices into `formats`: int32 (N,)."""
        return self.numbers("format_ids", np.int32)

    @property
    def names(self) -> Ragged:
        """The names."""
        return self.texts("names")

    def numbers(self, column: str, dtype: DTypeLike) -> NDArray[Any]:
        """Return a column of numbers of the table, cast to `dtype`."""
        numbers: NDArray[Any] = getattr(self.table, column)
        return (numbers if self.rows is None else numbers[self.rows]).astype(dtype, copy=False)

    def texts(self, column: str) -> Ragged:
        """Return a column of texts or bytes of the table."""
        texts: Ragged = getattr(self.table, column)
        return texts if self.rows is None else texts.take(self.rows)

    def _row(self, i: int) -> int:
        """Return the row of video i in the table."""
        i = range(len(self))[i]  # IndexError past the end; -1 is the last
        return i if self.rows is None else int(self.rows[i])

    def info(self, i: int) -> VideoInfo:
        """Return what a plan may know about video i."""
        row = self._row(i)
        width, height = self.table.sizes_WH[row].tolist()
        return VideoInfo(
            name=self.table.names.text(row),
            num_frames=int(self.table.num_frames[row]),
            width=width,
            height=height,
            fps=float(self.table.rates[self.table.rate_ids[row]]),
            label=int(self.table.labels[row]),
            chunk=0 if self.chunks is None else int(self.chunks[i]),
        )

    def record(self, i: int) -> Record:
        """Return the record of video i, without the notes."""
        return record_at(self.table, self._row(i))

    def class_name(self, i: int) -> str:
        """Return the name of video i's class; empty if it has none."""
        label = int(self.table.labels[self._row(i)])
        return self.table.class_names.text(label) if 0 <= label < len(self.table.class_names) else ""

    def file(self, i: int) -> str:
        """Return the file that holds video i: its path below the root, an absolute path or a URL."""
        row = self._row(i)
        return self.table.sources.text(row) or str(video_path(Path(), self.table.names.text(row)))

    def location(self, i: int) -> str:
        """Return the path or URL of the file that holds video i."""
        return joined(os.path.join(self.opened_in, self.root), self.file(i))

    def path(self, i: int) -> Path:
        """Return the path of video i's file in a local dataset."""
        return Path(self.location(i))

    def units(self, i: int) -> Units:
        """Return where the bytes of video i are; ClipError if the index is inconsistent."""
        row = self._row(i)
        num_frames = int(self.table.num_frames[row])
        try:
            units = unpack_units(self.table.fragments[row], int(self.table.init_sizes[row]))
            if units.frame_ends[-1] != num_frames:
                raise ValueError(f"its fragments hold {counted(int(units.frame_ends[-1]), 'frame')}, not {num_frames}")
        except ValueError as error:
            name = shown(self.table.names.text(row))
            raise ClipError(f"{self.root}/{INDEX_FILE} is damaged at {name}: {error}; run `{PREPARE}` again") from error
        return units

    def container(self, i: int) -> Container:
        """Return how the fragments of video i are stored."""
        return self.table.format(self._row(i))[2]

    def codec(self, i: int) -> str:
        """Return FFmpeg's name of the codec: "vp9", "h264", "hevc", "mpeg4" ..."""
        return self.table.format(self._row(i))[0]

    def select(self, rows: Sequence[int] | NDArray[np.integer | np.bool_]) -> "Index":
        """Select the videos `rows`, in that order, as a new index; class names and ids stay.

        They are indices, -1 for the last, or a mask, bool (N,). IndexError if one is out of range.
        """
        chosen = np.arange(len(self))[np.asarray(rows) if len(rows) else []]
        return replace(
            self,
            rows=narrowed(chosen if self.rows is None else self.rows[chosen]),
            chunks=None if self.chunks is None else self.chunks[chosen],
        )

    @property
    def whole(self) -> "Index":
        """All videos of the dataset, of which this index may be a selection."""
        return replace(self, rows=None, chunks=None)

    def repeat(self, counts: Sequence[int]) -> "Index":
        """Repeat each video `counts` times in a row, with `VideoInfo.chunk` counting from 0."""
        repeated = self.select(np.repeat(np.arange(len(self)), counts))
        return replace(repeated, chunks=np.concatenate([np.arange(count, dtype=np.int32) for count in counts]))

    def with_columns(self, **columns: Any) -> "Index":
        """Replace columns of the videos' `Table`: labels, class_names, names ..."""
        numbers = {name: self.numbers(name, np.int64) for name in NUMBERS}
        texts = {name: self.texts(name) for name in TEXTS}
        others = {"fps": self.fps, "class_names": self.class_names, "formats": self.formats}
        return replace(self, table=Table.of(**{**numbers, **texts, **others, **columns}), rows=None)

    @classmethod
    def build(
        cls,
        root: Path | str,
        records: Mapping[str, Record],
        *,
        labels: Mapping[str, int] | None = None,
        class_names: Iterable[str] = (),
    ) -> "Index":
        """Make an index of `records` (name -> record), with rows sorted by name."""
        return cls(location(root), table_of(records, labels=labels, class_names=class_names))

    def save(self) -> None:
        """Write `root/index.npz` atomically: readers see the old one or the new one."""
        if is_url(self.root):
            raise UserError(f"cannot write to {self.root}: make the dataset in a folder, and copy that there")
        table = self.table if self.rows is None else self.with_columns().table
        here = Ragged.of_texts([os.path.abspath(self.root)])
        table = replace(table, made_at=here if any(outside(table)) else None)
        with replacing(Path(self.root, INDEX_FILE)) as temporary, temporary.open("wb") as file:
            table.write(file)

    @classmethod
    def load(cls, root: str | Path) -> "Index":
        """Open `root/index.npz`; UserError if it is missing, has no videos, is not an index, or points elsewhere.

        A local file is mapped, and child processes map it again, so all share its memory. `save` replaces the file,
        unseen by processes that have it open; never write into it in place. From a URL it is read into memory, and
        workers share a copy.
        """
        path = f"{root}/{INDEX_FILE}"
        storage_of(root)  # UserError for a URL without one
        try:
            if is_url(root):
                index = cls(root, Table.read(read_file(joined(root, INDEX_FILE)).data).checked())
            else:
                opened_in = "" if os.path.isabs(root) else os.getcwd()
                index = cls(Path(root), Table.map(path).checked(), opened_in=opened_in)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UserError(why_no_index(root)) from error
        except UserError as error:
            raise UserError(f"{path}: {error}") from error
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror or error}") from error
        except MemoryError:
            raise
        except Exception as error:  # a stranger's bytes may break a parser in any way
            raise UserError(f"{path} is damaged or not an index ({error}); run `{PREPARE}` again") from error
        if not len(index):
            raise UserError(f"{path} holds no videos; see its quarantine.csv for the reasons")
        require_inside(index.table, root)
        return index
