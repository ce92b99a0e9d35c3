"""Columns of integers in few bytes: the differences of consecutive numbers in a Rice code.

A column holds its first number, then the differences (R. F. Rice, JPL 79-22, 1979): the k low bits of all, then the
high bits of all in unary. Single numbers are LEB128: of variable length, seven bits per byte, lowest first.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

LOW_BITS = 52
POWERS = 2.0 ** np.arange(LOW_BITS)  # floats make the product below BLAS: four times as fast, and exact
DAMAGED = "the table of its fragments is damaged"


def leb128(number: int) -> bytes:
    """Encode a number, 0 or more."""
    parts = []
    while number > 127:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def rice(column: NDArray[np.int64]) -> bytes:
    """Encode a column, (N,) of at least one number."""
    first, steps = int(column[0]), np.diff(column)
    folded = _folded(steps)
    head = leb128(_folded(first))
    if not folded.any():
        return bytes([0]) + head + leb128(0)
    about = min(int(folded.mean()).bit_length(), LOW_BITS)
    _, k = min((len(folded) * k + int((folded >> k).sum()), k) for k in range(max(about - 3, 0), about + 1))
    high = folded >> k
    unary = np.zeros(int(high.sum()) + len(high), np.uint8)
    unary[np.cumsum(high + 1) - 1] = 1
    ones = np.packbits(unary).tobytes()
    low = np.packbits((folded[:, None] >> np.arange(k)).astype(np.uint8) & 1).tobytes()
    return b"".join([bytes([k]), head, leb128(len(ones)), low, ones])


class Reader:
    """Read numbers and columns from the front; ValueError past the end of the bytes."""

    def __init__(self, table: bytes | NDArray[np.uint8]) -> None:
        self.table, self.at = bytes(table), 0
        self._bytes = np.frombuffer(self.table, np.uint8)

    def number(self) -> int:
        """Read a number."""
        number = shift = 0
        while self.at < len(self.table) and shift < 63:  # more is no int64
            byte = self.table[self.at]
            self.at += 1
            number |= (byte & 127) << shift
            if byte < 128:
                return number
            shift += 7
        raise ValueError(DAMAGED)

    def _bits(self, size: int) -> NDArray[np.uint8]:
        if size > len(self.table) - self.at:
            raise ValueError(DAMAGED)
        self.at += size
        return np.unpackbits(self._bytes[self.at - size : self.at])

    def column(self, count: int) -> NDArray[np.int64]:
        """Read a column of `count` numbers."""
        if not count:  # none is written
            raise ValueError(DAMAGED)
        k, folded, size = self.number(), self.number(), self.number()
        column, steps = np.empty(count, np.int64), count - 1
        column[0] = _unfolded(folded)
        if not size:
            column[1:] = column[0]
            return column
        if k > LOW_BITS:
            raise ValueError(DAMAGED)
        low = self._bits((steps * k + 7) // 8)[: steps * k].reshape(steps, k) @ POWERS[:k]
        ones = self._bits(size).nonzero()[0]
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
