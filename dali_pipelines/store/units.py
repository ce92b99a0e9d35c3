"""The packed table of a video's fragments, about nine bits a frame.

A table is a byte of flags, the number of fragments, the start of the first, and up to four columns: sizes; gaps between
consecutive fragments; frames; whether deflated. A column with only default values (no gap, one frame, not deflated) is
omitted. The others hold their first number, then the differences of consecutive numbers in a Rice code (R. F. Rice,
JPL 79-22, 1979): the k low bits of all, then the high bits of all in unary. Numbers in the head are LEB128: of variable
length, seven bits per byte, lowest first.

On H.264 with a GOP of 1 this takes 7.4 to 10.2 bits a frame, zlib over the shuffled bytes of the differences 10 to 14.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.words import counted
from dali_pipelines.store.fmp4 import Fragment

MAX_UNITS = 1 << 22
"""Most fragments of a video: 38 hours of single frames. A foreign file may not claim more memory."""
MAX_BYTES = 1 << 42
"""Most bytes of a fragment."""
LAST_BYTE = 1 << 60
LOW_BITS = 52
POWERS = 2.0 ** np.arange(LOW_BITS)  # floats make the product below BLAS: four times as fast, and exact
DAMAGED = "the table of its fragments is damaged"

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
    head = bytes([sum(coded) + APART * apart]) + _number(len(starts)) + _number(int(starts[0]))
    return b"".join([head, _coded(sizes), *map(_coded, coded.values())])


def unpack_units(table: bytes | NDArray[np.uint8], init_size: int = 0) -> Units:
    """Unpack a table; ValueError if it is damaged or inconsistent.

    The init segment, of `init_size` bytes, ends where the first fragment starts.
    """
    reader = _Reader(table)
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
        order = np.argsort(starts)
        if not flags & APART and (starts[order][1:] < ends[order][:-1]).any():
            raise ValueError("its fragments overlap")
    return Units((first - init_size, first), starts, ends, frame_ends, deflated)


class PackedFragments(Sequence[Fragment]):
    """The fragments of a video, kept as their table: a hundredth of the memory of tuples."""

    def __init__(self, table: bytes) -> None:
        self.table = table

    @classmethod
    def of(cls, fragments: Sequence[Fragment]) -> "PackedFragments":
        """Pack fragments; ValueError as in `pack_units`."""
        if isinstance(fragments, cls):
            return fragments
        starts, sizes, frames, deflated = np.array(fragments, np.int64).reshape(-1, 4).T
        return cls(pack_units(starts, sizes, frames, deflated != 0))

    def moved(self, by: int) -> "PackedFragments":
        """Return the same fragments, shifted by `by` bytes."""
        reader = _Reader(self.table)
        flags, count, first = reader.number(), reader.number(), reader.number()
        head = bytes([flags]) + _number(count) + _number(first + by)
        return PackedFragments(head + self.table[reader.at :])

    def __len__(self) -> int:
        return _Reader(self.table[1:11]).number()

    @property
    def size(self) -> int:
        """The bytes of all fragments."""
        return int(self._columns()[1].sum())

    def __getitem__(self, i: Any) -> Any:
        columns = [column[i].tolist() for column in self._columns()]
        return tuple(map(Fragment, *columns)) if isinstance(i, slice) else Fragment(*columns)

    def __iter__(self) -> Iterator[Fragment]:
        return map(Fragment, *(column.tolist() for column in self._columns()))

    def _columns(self) -> tuple[NDArray[Any], ...]:
        """Return the fields of `Fragment`, (N,) each."""
        _, starts, ends, frame_ends, deflated = unpack_units(self.table)
        return starts, ends - starts, np.diff(frame_ends, prepend=0), deflated

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and tuple(self) == tuple(other)


def _checked(what: str, numbers: NDArray[np.int64], least: int, most: int) -> NDArray[np.int64]:
    low, high = int(numbers.min()), int(numbers.max())
    if low < least or high > most:
        raise ValueError(f"it claims {low} to {high} {what}")
    return numbers


def _number(number: int) -> bytes:
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def _coded(column: NDArray[np.int64]) -> bytes:
    first, steps = int(column[0]), np.diff(column)
    folded = _folded(steps)
    head = _number(_folded(first))
    if not folded.any():
        return bytes([0]) + head + _number(0)
    about = min(int(folded.mean()).bit_length(), LOW_BITS)
    _, k = min((len(folded) * k + int((folded >> k).sum()), k) for k in range(max(about - 3, 0), about + 1))
    high = folded >> k
    unary = np.zeros(int(high.sum()) + len(high), np.uint8)
    unary[np.cumsum(high + 1) - 1] = 1
    ones = np.packbits(unary).tobytes()
    low = np.packbits((folded[:, None] >> np.arange(k)).astype(np.uint8) & 1).tobytes()
    return b"".join([bytes([k]), head, _number(len(ones)), low, ones])


class _Reader:
    """Reads a table from the front; ValueError past its end."""

    def __init__(self, table: bytes | NDArray[np.uint8]) -> None:
        self.table, self.at = bytes(table), 0
        self._bytes = np.frombuffer(self.table, np.uint8)

    def number(self) -> int:
        number = shift = 0
        while self.at < len(self.table) and shift < 64:
            byte = self.table[self.at]
            self.at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
        raise ValueError(DAMAGED)

    def bits(self, size: int) -> NDArray[np.uint8]:
        if size > len(self.table) - self.at:
            raise ValueError(DAMAGED)
        self.at += size
        return np.unpackbits(self._bytes[self.at - size : self.at])

    def column(self, count: int) -> NDArray[np.int64]:
        k, folded, size = self.number(), self.number(), self.number()
        column, steps = np.empty(count, np.int64), count - 1
        column[0] = _unfolded(folded)
        if not size:
            column[1:] = column[0]
            return column
        if k > LOW_BITS:
            raise ValueError(DAMAGED)
        low = self.bits((steps * k + 7) // 8)[: steps * k].reshape(steps, k) @ POWERS[:k]
        ones = self.bits(size).nonzero()[0]
        if len(ones) != steps:
            raise ValueError(DAMAGED)
        high = ones.copy()  # the zeros before each one
        high[1:] -= ones[:-1] + 1
        column[1:] = _unfolded((high << k) + low.astype(np.int64))
        return column.cumsum()


def _folded(number: Any) -> Any:
    """Map integers 0, -1, 1, -2 ... to 0, 1, 2, 3 ... (zigzag)."""
    return number << 1 ^ number >> 63


def _unfolded(number: Any) -> Any:
    return number >> 1 ^ -(number & 1)
