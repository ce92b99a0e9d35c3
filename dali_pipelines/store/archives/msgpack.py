"""Locate the texts and bytes of a msgpack list (github.com/msgpack/msgpack/blob/master/spec.md)."""

from collections.abc import Iterator
from typing import BinaryIO

_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""Bytes of the length that follows each type of bytes (bin) and text (str; before version 1, bytes too)."""
_ARRAYS = {0xDC: 2, 0xDD: 4}


def elements(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield begin and end of each element of a list of bytes or texts, a value that lies from `begin` to `end`.

    The file may be moved between elements.

    Raises:
        ValueError: it is no such list, or not whole.
    """
    kind, at = _number(file, begin, 1, end)
    if kind in _ARRAYS:
        count, at = _number(file, at, _ARRAYS[kind], end)
    elif 0x90 <= kind <= 0x9F:
        count = kind & 0xF
    else:
        raise ValueError(f"is no list: it begins with {kind:#04x}")
    for i in range(count):
        kind, at = _number(file, at, 1, end)
        if kind in _LENGTHS:
            length, at = _number(file, at, _LENGTHS[kind], end)
        elif 0xA0 <= kind <= 0xBF:
            length = kind & 0x1F
        else:
            raise ValueError(f"is no list of bytes: element {i} begins with {kind:#04x}")
        if at + length > end:
            raise ValueError(f"is cut off: element {i} claims {length} bytes, {end - at} are left")
        yield at, at + length
        at += length


def _number(file: BinaryIO, at: int, length: int, end: int) -> tuple[int, int]:
    """Return the big-endian number at a place, and where it ends."""
    if at + length > end:
        raise ValueError("is cut off")
    file.seek(at)
    return int.from_bytes(file.read(length), "big"), at + length
