"""LMDB environments whose values are msgpack lists of pictures, as in CSTP and CoCLR (specs/cstp.md 6.3).

The pages are parsed here, not by LMDB, to support any storage and to learn the offsets of values: those of more than a
quarter of a page are contiguous in overflow pages, small ones are in the leaf. The format is data version 1 (mdb.c of
LMDB 0.9): 64-bit, little-endian.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple

import numpy as np

from dali_pipelines.store.archives.members import Contents, is_inside
from dali_pipelines.store.place import Place
from dali_pipelines.store.source import VideoError
from dali_pipelines.store.storage import open_ranged

MAGIC = 0xBEEFC0DE
MAGIC_AT = 16
"""After the page header."""
DATA_VERSION = 1
_HEADER = struct.Struct("<Q2xHHH")  # number, flags, end of the node pointers, start of the nodes
_BRANCH, _LEAF = 0x01, 0x02
_BIG, _SUB, _DUPLICATES = 0x01, 0x02, 0x04
_NONE = 2**64 - 1
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
"""msgpack type -> bytes of the length that follows it: bytes (bin) and text (str; before version 1, bytes too)."""
_ARRAYS = {0xDC: 2, 0xDD: 4}


class Entry(NamedTuple):
    """A key and the byte range of its value."""

    key: bytes
    begin: int
    end: int


def read_lmdb(location: str) -> Contents:
    """List the videos of an LMDB, named by its `__order__`, else by their keys.

    VideoError if it is damaged, or a name points outside.
    """
    videos: dict[str, Place] = {}
    try:
        with open_ranged(location) as file:
            found = {entry.key: entry for entry in entries(file)}
            order = list(_texts(file, found[b"__order__"])) if b"__order__" in found else []
    except ValueError as error:
        raise VideoError(f"is no whole LMDB: {error}") from error
    for key, begin, end in found.values():
        if key.startswith(b"__"):
            continue
        text = key.decode(errors="surrogateescape")
        numbered = key.isdigit() and len(key) < 20 and int(key) < len(order)
        name = order[int(key)] if numbered else text
        if not is_inside(name):
            raise VideoError(f"its key {text!r} has the name {name!r}, which is no path below a folder")
        if name in videos:
            raise VideoError(f"has the name {name!r} twice, the second time for key {text!r}")
        videos[name] = Place(location, "lmdb", name, np.array([[begin, end - begin, 0]], np.int64))
    if not videos:
        raise VideoError("has no videos")
    return Contents(videos)


def _texts(file: BinaryIO, entry: Entry) -> Iterator[str]:
    for begin, end in elements(file, entry.begin, entry.end):
        file.seek(begin)
        yield file.read(end - begin).decode(errors="surrogateescape")


def entries(file: BinaryIO) -> Iterator[Entry]:
    """Yield the entries of an environment's main database, in key order; ValueError if it is damaged."""
    pages, root = _open(file)
    stack, seen = [root] if root != _NONE else [], set[int]()
    while stack:
        number = stack.pop()
        if number in seen:
            raise ValueError(f"page {number} is reached twice")
        seen.add(number)
        page = pages.read(number)
        _, flags, lower, _ = _HEADER.unpack_from(page)
        if not MAGIC_AT <= lower <= pages.size or not flags & (_BRANCH | _LEAF):
            raise ValueError(f"page {number} is neither branch nor leaf")
        nodes = struct.unpack_from(f"<{(lower - MAGIC_AT) // 2}H", page, MAGIC_AT)
        if flags & _BRANCH:
            children = [_node(page, at) for at in reversed(nodes)]
            stack += [low | high << 16 | flags << 32 for low, high, flags, _ in children]
        else:
            yield from (_entry(pages, number, page, at) for at in nodes)


class _Pages(NamedTuple):
    """A file of `length` bytes in pages of `size`."""

    file: BinaryIO
    size: int
    length: int

    def read(self, number: int) -> bytes:
        if (number + 1) * self.size > self.length:
            raise ValueError(f"page {number} is behind its end")
        self.file.seek(number * self.size)
        return self.file.read(self.size)


def _open(file: BinaryIO) -> tuple[_Pages, int]:
    """Return the pages, and the main database's root from the newer of the two meta pages."""
    size, root, transaction = _meta(file, 0)
    if size not in {2**power for power in range(9, 17)}:
        raise ValueError(f"its pages claim {size} bytes")
    _, other_root, other_transaction = _meta(file, size)
    newer = other_root if other_transaction > transaction else root
    return _Pages(file, size, file.seek(0, 2)), newer


def _meta(file: BinaryIO, at: int) -> tuple[int, int, int]:
    """Return the page size, and the main database's root and transaction, of a meta page."""
    file.seek(at + MAGIC_AT)
    data = file.read(136)
    if len(data) < 136:
        raise ValueError("it ends before its second page")
    magic, version = struct.unpack_from("<II", data)
    if magic != MAGIC or version & 0xFFFF != DATA_VERSION:
        raise ValueError(f"it has data version {version & 0xFFFF}, {DATA_VERSION} is known: copy it with LMDB 0.9")
    # Two databases of 48 bytes each, from byte 24: free pages, whose first field is the page size, and main.
    (page_size,), (root, _, transaction) = struct.unpack_from("<I", data, 24), struct.unpack_from("<3Q", data, 112)
    return page_size, root, transaction


def _node(page: bytes, at: int) -> tuple[int, int, int, int]:
    """Return the 16-bit fields of a node: low and high half of a size, flags, key size."""
    if at + 8 > len(page):
        raise ValueError("a node lies outside of its page")
    low, high, flags, key = struct.unpack_from("<4H", page, at)
    return low, high, flags, key


def _entry(pages: _Pages, number: int, page: bytes, at: int) -> Entry:
    low, high, flags, key_size = _node(page, at)
    size, data = low | high << 16, at + 8 + key_size
    key = page[at + 8 : data]
    if flags & (_SUB | _DUPLICATES):
        raise ValueError(f"its key {key!r} is a database of its own, of which none is read")
    if data + (8 if flags & _BIG else size) > pages.size:
        raise ValueError(f"the value of its key {key!r} lies outside of its page")
    begin = number * pages.size + data
    if flags & _BIG:
        (overflow,) = struct.unpack_from("<Q", page, data)
        begin = overflow * pages.size + MAGIC_AT
        if begin + size > pages.length:
            raise ValueError(f"the value of its key {key!r} ends at byte {begin + size}, the file at {pages.length}")
    return Entry(key, begin, begin + size)


def elements(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each element of the msgpack list of bytes or texts in `begin` to `end`.

    Callers may seek between elements. ValueError if it is no such list, or cut off. Source:
    github.com/msgpack/msgpack/blob/master/spec.md.
    """
    count, at = _length(file, begin, end, _ARRAYS, range(0x90, 0xA0), "is no list: it")
    for i in range(count):
        length, at = _length(file, at, end, _LENGTHS, range(0xA0, 0xC0), f"is no list of bytes: element {i}")
        if at + length > end:
            raise ValueError(f"is cut off: element {i} claims {length} bytes, {end - at} are left")
        yield at, at + length
        at += length


def _length(file: BinaryIO, at: int, end: int, long: Mapping[int, int], short: range, what: str) -> tuple[int, int]:
    """Read a length after its type, or within that if it is a `short` one; return it and where it ends."""
    kind, at = _number(file, at, 1, end)
    if kind in short:
        return kind - short.start, at
    if kind not in long:
        raise ValueError(f"{what} begins with {kind:#04x}")
    return _number(file, at, long[kind], end)


def _number(file: BinaryIO, at: int, length: int, end: int) -> tuple[int, int]:
    """Read a big-endian number; return it and where it ends."""
    if at + length > end:
        raise ValueError("is cut off")
    file.seek(at)
    return int.from_bytes(file.read(length), "big"), at + length
