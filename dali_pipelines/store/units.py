"""The packed table of a video's fragments, about nine bits a frame.

A table is a byte of flags, the number of fragments, the start of the first, and up to four columns: sizes; gaps between
consecutive fragments; frames; whether deflated. A column with only default values (no gap, one frame, not deflated) is
omitted. Numbers and columns are coded as in `rice`.

On H.264 with a GOP of 1 this takes 7.4 to 10.2 bits a frame, zlib over the shuffled bytes of the differences 10 to 14.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.words import counted
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.rice import Reader, leb128, rice

MAX_UNITS = 1 << 22
"""Most fragments of a video: 38 hours of single frames. A foreign file may not claim more memory."""
MAX_BYTES = 1 << 42
"""Most bytes of a fragment."""
LAST_BYTE = 1 << 60

APART, GAPS, FRAMES, DEFLATED = 1, 2, 4, 8
"""Flags: APART if each fragment is its own file, all starting at one offset; the columns present."""


class Units(NamedTuple):
    """The N fragments of a video, in frame order.

    init: start and end of the init segment; equal if there is none.
    starts, ends: int64 (N,), byte offsets in the file.
    frame_ends: int64 (N,), cumulative number of frames.
    deflated: bool (N,).
    """

    init: tuple[int, int]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    frame_ends: NDArray[np.int64]
    deflated: NDArray[np.bool_]


def pack_units(
    starts: NDArray[np.int64], sizes: NDArray[np.int64], frames: NDArray[np.int64], deflated: NDArray[np.bool_]
) -> bytes:
    """Pack N fragments, (N,) arrays as in `Fragment`, into a table.

    ValueError for no fragments, too many, or numbers out of range.
    """
    if not 0 < len(starts) <= MAX_UNITS:
        raise ValueError(f"it has {len(starts)} fragments, 1 to {MAX_UNITS} are allowed")
    _checked("bytes a fragment", sizes, 0, MAX_BYTES)
    _checked("as the start of a fragment", starts, 0, LAST_BYTE)
    _checked("frames a fragment", frames, 1, 2**31)
    apart = len(starts) > 1 and not (starts != starts[0]).any()
    gaps = np.diff(starts) if apart else np.diff(starts) - sizes[:-1]
    columns = {GAPS: gaps, FRAMES: frames - 1, DEFLATED: deflated.astype(np.int64)}
    coded = {flag: column for flag, column in columns.items() if column.any()}
    head = bytes([sum(coded) + APART * apart]) + leb128(len(starts)) + leb128(int(starts[0]))
    return b"".join([head, rice(sizes), *map(rice, coded.values())])


def unpack_units(table: bytes | NDArray[np.uint8], init_size: int = 0) -> Units:
    """Unpack a table; ValueError if it is damaged or inconsistent.

    The init segment, of `init_size` bytes, ends where the first fragment starts.
    """
    reader = Reader(table)
    flags, count, first = reader.number(), reader.number(), reader.number()
    if flags > APART | GAPS | FRAMES | DEFLATED or not 0 < count <= MAX_UNITS or not init_size <= first <= LAST_BYTE:
        raise ValueError(f"it claims {counted(count, 'fragment')} from byte {first} on")
    sizes = _checked("bytes a fragment", reader.column(count), 0, MAX_BYTES)
    gaps = reader.column(count - 1) if flags & GAPS else None
    if flags & FRAMES:
        frame_ends = np.cumsum(_checked("more frames a fragment", reader.column(count), 0, 2**31) + 1)
    else:
        frame_ends = np.arange(1, count + 1)
    deflated = reader.column(count) != 0 if flags & DEFLATED else np.zeros(count, np.bool_)
    if gaps is None and not flags & APART:
        ends = np.cumsum(sizes)
        ends += first
        starts = ends - sizes
    else:
        steps = np.zeros(count - 1, np.int64) if gaps is None else gaps
        starts = np.cumsum(np.append(first, steps if flags & APART else steps + sizes[:-1]))
        ends = _checked("as the start of a fragment", starts, 0, LAST_BYTE) + sizes
        order = np.lexsort((ends, starts))  # empty ones before what starts there
        if not flags & APART and (starts[order][1:] < ends[order][:-1]).any():
            raise ValueError("its fragments overlap")
    return Units((first - init_size, first), starts, ends, frame_ends, deflated)


@dataclass(frozen=True)
class PackedFragments:
    """The fragments of a video, kept as their table: a hundredth of the memory of tuples."""

    table: bytes

    @classmethod
    def of(cls, fragments: Sequence[Fragment]) -> "PackedFragments":
        """Pack fragments; ValueError as in `pack_units`."""
        starts, sizes, frames, deflated = np.array(fragments, np.int64).reshape(-1, 4).T
        return cls(pack_units(starts, sizes, frames, deflated != 0))

    def moved(self, by: int) -> "PackedFragments":
        """Return the same fragments, shifted by `by` bytes."""
        reader = Reader(self.table)
        flags, count, first = reader.number(), reader.number(), reader.number()
        head = bytes([flags]) + leb128(count) + leb128(first + by)
        return PackedFragments(head + self.table[reader.at :])

    def __len__(self) -> int:
        return Reader(self.table[1:11]).number()

    @property
    def size(self) -> int:
        """The bytes of all fragments."""
        units = unpack_units(self.table)
        return int((units.ends - units.starts).sum())

    @property
    def end(self) -> int:
        """Where the last fragment ends in its file."""
        return int(unpack_units(self.table).ends[-1])

    def __iter__(self) -> Iterator[Fragment]:
        _, starts, ends, frame_ends, deflated = unpack_units(self.table)
        columns = (starts, ends - starts, np.diff(frame_ends, prepend=0), deflated)
        return map(Fragment, *(column.tolist() for column in columns))


def _checked(what: str, numbers: NDArray[np.int64], least: int, most: int) -> NDArray[np.int64]:
    low, high = int(numbers.min()), int(numbers.max())
    if low < least or high > most:
        raise ValueError(f"it claims {low} to {high} {what}")
    return numbers
