"""Parse the layout of a fragmented MP4: the end of its init segment, and its fragments.

A fragmented MP4 is `ftyp moov [sidx] (moof mdat)* [mfra]` (ISO/IEC 14496-12). The boxes before the first
`moof` are the init segment; followed by any of the fragments, it is again a readable MP4.
"""

import mmap
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from configs.words import counted


class Fragment(NamedTuple):
    """One decodable unit of a video: `frames` frames in the `size` bytes at `offset` of its file.

    If `deflated`, the bytes are a raw DEFLATE stream, as in a zip.
    """

    offset: int
    size: int
    frames: int
    deflated: bool = False


class Layout(NamedTuple):
    """`init_size` bytes of header, then contiguous fragments."""

    init_size: int
    fragments: tuple[Fragment, ...]


def read_layout(path: Path) -> Layout:
    """Read the top-level boxes of `path`; ValueError if it is cut off or not a fragmented MP4.

    Boxes between two fragments (`styp`, `prft`) belong to the earlier fragment.
    """
    with path.open("rb") as file:
        data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    starts: list[int] = []
    counts: list[int] = []
    at = end = 0
    for kind, body, stop in boxes(data):
        if kind == b"moof":
            starts.append(at)
            counts.append(len(sample_table(body)[0]))
        at = stop
        if kind != b"mfra":
            end = stop
    if at < len(data):
        raise ValueError(f"cut off in the box header at byte {at}")
    if not starts:
        raise ValueError("no fragment (moof box) in the file")
    ends = [*starts[1:], end]
    fragments = (Fragment(a, b - a, n) for a, b, n in zip(starts, ends, counts, strict=True))
    return Layout(starts[0], tuple(fragments))


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview, int]]:
    """Yield kind, body and end offset of each box; ValueError if the last is cut off."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        header = 8
        if size == 1:  # a 64-bit size follows the kind
            size, header = int.from_bytes(data[at + 8 : at + 16]), 16
        elif size == 0:  # the last box, to the end
            size = len(data) - at
        if not header <= size <= len(data) - at:
            raise ValueError(f"box {kind!r} claims {size} bytes, {len(data) - at} are left")
        yield kind, data[at + header : at + size], at + size
        at += size


def find(data: memoryview, *path: bytes) -> memoryview:
    """Return the body of the first box at `path`, one kind per level; ValueError if there is none."""
    for kind in path:
        data = next((body for found, body, _ in boxes(data) if found == kind), data[:0])
        if not data:
            raise ValueError(f"there is no {b'/'.join(path).decode()} box")
    return data


SAMPLE_DESCRIPTIONS = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")
MAX_SAMPLES = 2**20
"""Per fragment, some 11 hours; if all have one size, a box can claim any number without growing."""
ENTRY_SIZE = 78
"""Bytes of a VisualSampleEntry (ISO/IEC 14496-12, 12.1.3) before its child boxes."""


def decoder_config(init: memoryview, kind: bytes) -> bytes:
    """Return the body of the first track's `kind` box ("avcC", "hvcC"); ValueError if there is none."""
    _, entry, _ = next(boxes(find(init, *SAMPLE_DESCRIPTIONS)[8:]))
    return bytes(find(entry[ENTRY_SIZE:], kind))


def sample_table(moof: memoryview) -> tuple[list[int], list[int]]:
    """Return the size in bytes and the presentation time of each sample (one per frame) in a `moof` body.

    In the order of `mdat`; times are in the track's time scale.
    """
    sizes: list[int] = []
    times: list[int] = []
    now = size = duration = 0
    for kind, body, _ in boxes(find(moof, b"traf")):
        if kind == b"tfhd":
            size, duration = _default(body, 0x10), _default(body, 0x8)
        elif kind == b"tfdt":
            now = int.from_bytes(body[4 : 12 if body[0] else 8], "big")
        elif kind == b"trun":
            sizes += _column(body, 0x200, size)
            for lasts, offset in zip(_column(body, 0x100, duration), _column(body, 0x800, 0), strict=True):
                times.append(now + (offset ^ 1 << 31) - (1 << 31))  # signed, whatever the version of the box
                now += lasts
    return sizes, times


def samples(fragment: memoryview, count: int) -> Iterator[memoryview]:
    """Yield the samples of a fragment of `count` frames in decoding order; ValueError if it is incomplete.

    A single frame's header is skipped: it says nothing new, and parsing it takes longer than decoding a raw picture.
    """
    if count == 1:
        for kind, body, _ in boxes(fragment[int.from_bytes(fragment[:4]) :]):
            if kind == b"mdat":
                yield body
        return
    sizes: list[int] = []
    for kind, body, _ in boxes(fragment):
        if kind == b"moof":
            sizes, _ = sample_table(body)
        elif kind == b"mdat":
            start = 0
            for length in sizes:
                if start + length > len(body):
                    raise ValueError("a fragment ends within a frame")
                yield body[start : start + length]
                start += length


def _default(tfhd: memoryview, field: int) -> int:
    """Return a default in a track fragment's header (0x8 duration, 0x10 size), 0 if it has none."""
    flags, at = int.from_bytes(tfhd[1:4], "big"), 8
    for bit, length in ((0x1, 8), (0x2, 4), (0x8, 4), (0x10, 4)):  # data offset, description, duration, size
        if bit == field:
            break
        at += length if flags & bit else 0
    return _number(tfhd, at) if flags & field else 0


def _number(body: memoryview, at: int) -> int:
    """Read an unsigned 32-bit number; ValueError past the end of the box."""
    if at + 4 > len(body):
        raise ValueError(f"a box of {len(body)} bytes is too short")
    return int.from_bytes(body[at : at + 4], "big")


def _column(trun: memoryview, field: int, default: int) -> list[int]:
    """Return one field of a run's samples: 0x100 duration, 0x200 size, 0x400 flags, 0x800 composition offset."""
    flags, count = int.from_bytes(trun[1:4], "big"), _number(trun, 4)
    at = 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)  # data offset, flags of the first sample
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    if count > MAX_SAMPLES or at + 4 * count * len(fields) > len(trun):
        raise ValueError(f"a fragment claims {counted(count, 'sample')}, more than it holds")
    if not flags & field:
        return [default] * count
    words = struct.unpack_from(f">{count * len(fields)}I", trun, at)
    return list(words[fields.index(field) :: len(fields)])
