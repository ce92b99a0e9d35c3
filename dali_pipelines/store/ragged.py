"""Rows of different lengths in two flat arrays: a million rows load and pickle like one array."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Ragged:
    """Row i is `values[starts[n]:starts[n + 1]]` with n = `rows[i]`, or i without `rows`. Text is UTF-8."""

    values: NDArray[Any]
    starts: NDArray[np.integer]
    rows: NDArray[np.integer] | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1 if self.rows is None else len(self.rows)

    def __getitem__(self, i: int) -> NDArray[Any]:
        n = range(len(self))[i]  # IndexError past the end; -1 is the last row
        n = n if self.rows is None else int(self.rows[n])
        return self.values[int(self.starts[n]) : int(self.starts[n + 1])]

    def text(self, i: int) -> str:
        """Return row i as text."""
        return self[i].tobytes().decode(errors="surrogateescape")

    def texts(self) -> tuple[str, ...]:
        """Return all rows as text."""
        data, starts = self.values.tobytes(), self.starts.tolist()
        distinct = range(len(starts) - 1) if self.rows is None else np.unique(self.rows).tolist()
        text_of = {n: data[starts[n] : starts[n + 1]].decode(errors="surrogateescape") for n in distinct}
        return tuple(text_of.values() if self.rows is None else map(text_of.__getitem__, self.rows.tolist()))

    @property
    def lengths(self) -> NDArray[np.int64]:
        """The length of each row."""
        starts = self.starts.astype(np.int64)
        lengths = starts[1:] - starts[:-1]
        return lengths if self.rows is None else lengths[self.rows]

    def take(self, rows: NDArray[np.integer]) -> "Ragged":
        """Select `rows`, in that order, without copying their values."""
        return Ragged(self.values, self.starts, rows if self.rows is None else self.rows[rows])

    def compacted(self) -> "Ragged":
        """Copy only the values in use, each row once."""
        if self.rows is None:
            return self
        used, rows = np.unique(self.rows, return_inverse=True)
        starts = self.starts.astype(np.int64)
        lengths = np.diff(starts)[used]
        packed = _starts(lengths)
        values = self.values[np.repeat(starts[used] - packed[:-1], lengths) + np.arange(packed[-1])]
        in_order = len(rows) == len(used) and bool((rows == np.arange(len(rows))).all())
        return Ragged(values, packed, None if in_order else narrowed(rows))

    @classmethod
    def of_bytes(cls, rows: Iterable[bytes]) -> "Ragged":
        """Make a ragged array of uint8."""
        parts = list(rows)
        return cls(np.frombuffer(b"".join(parts), np.uint8), _starts(np.array([len(part) for part in parts], np.int64)))

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> "Ragged":
        """Make a ragged array of texts."""
        return cls.of_bytes(text.encode(errors="surrogateescape") for text in texts)

    @classmethod
    def of_distinct(cls, texts: Iterable[str]) -> "Ragged":
        """Make a ragged array of texts with many duplicates; each is stored once."""
        ids: dict[str, int] = {}
        rows = np.array([ids.setdefault(text, len(ids)) for text in texts], np.int64)
        distinct = cls.of_texts(ids)
        return cls(distinct.values, distinct.starts, narrowed(rows))


def narrowed(numbers: NDArray[np.integer]) -> NDArray[np.integer]:
    """Cast integers to the smallest dtype that holds them all."""
    if not len(numbers):
        return numbers.astype(np.uint8)
    return numbers.astype(np.result_type(np.min_scalar_type(numbers.min()), np.min_scalar_type(numbers.max())))


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.integer]:
    return narrowed(np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)]))
