"""Rows of different lengths in two flat arrays: a million rows load and pickle like one array."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


@dataclass(frozen=True)
class Ragged:
    """Row i is `values[starts[i]:starts[i + 1]]`; text rows are its UTF-8 bytes."""

    values: NDArray[Any]
    starts: NDArray[np.int64]

    def __getitem__(self, i: int) -> NDArray[Any]:
        i = range(len(self.starts) - 1)[i]  # IndexError past the end; -1 is the last row
        return self.values[self.starts[i] : self.starts[i + 1]]

    def text(self, i: int) -> str:
        """Return row i as text."""
        return self[i].tobytes().decode(errors="surrogateescape")

    def texts(self) -> tuple[str, ...]:
        """Return all rows as text."""
        return tuple(self.text(i) for i in range(len(self.starts) - 1))

    def take(self, rows: NDArray[np.integer]) -> "Ragged":
        """Copy the rows `rows`, in that order, into a ragged array of their own."""
        lengths = np.diff(self.starts)[rows]
        starts = _starts(lengths)
        offsets = np.repeat(self.starts[:-1][rows] - starts[:-1], lengths)
        return Ragged(self.values[offsets + np.arange(starts[-1])], starts)

    @classmethod
    def of(cls, rows: Iterable[ArrayLike], dtype: DTypeLike) -> "Ragged":
        """Make a ragged array of rows of numbers."""
        arrays = [np.asarray(row, dtype) for row in rows]
        values = np.concatenate(arrays) if arrays else np.empty(0, dtype)
        return cls(values, _starts(np.array([len(a) for a in arrays], np.int64)))

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> "Ragged":
        """Make a ragged array of texts."""
        return cls.of((np.frombuffer(text.encode(errors="surrogateescape"), np.uint8) for text in texts), np.uint8)


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
