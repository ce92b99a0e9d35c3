"""The layout of a fragmented MP4: where the init segment ends and where each fragment lies.

A fragmented MP4 is `ftyp moov [sidx] (moof mdat)* [mfra]` (ISO/IEC 14496-12). The boxes before the first
`moof` are the init segment; followed by any of the fragments it is again an MP4 that a demuxer reads.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple


class Fragment(NamedTuple):
    """One decodable unit of a video file: `size` bytes from `offset` on, holding `frames` frames."""

    offset: int
    size: int
    frames: int


class Layout(NamedTuple):
    """`init_size` bytes of header, then the fragments, which follow one another without a gap."""

    init_size: int
    fragments: tuple[Fragment, ...]


def read_layout(path: Path) -> Layout:
    """Reads the top-level boxes of `path`; ValueError when it is cut off or is not a fragmented MP4.

    What stands between two fragments (`styp`, `prft`) belongs to the fragment before it.
    """
    starts: list[int] = []
    counts: list[int] = []
    end = 0
    with path.open("rb") as file:
        length = file.seek(0, 2)
        for kind, start, header, stop in _boxes(file, length):
            if kind == b"moof":
                starts.append(start)
                file.seek(start + header)
                counts.append(len(sample_sizes(memoryview(file.read(stop - start - header)))))
            if kind != b"mfra":
                end = stop
    if not starts:
        raise ValueError("no fragment (moof box) in the file")
    ends = [*starts[1:], end]
    fragments = (Fragment(a, b - a, n) for a, b, n in zip(starts, ends, counts, strict=True))
    return Layout(starts[0], tuple(fragments))


def _boxes(file: BinaryIO, length: int) -> Iterator[tuple[bytes, int, int, int]]:
    """Yields (kind, start, header size, stop) of the boxes side by side in the file."""
    start = 0
    while start < length:
        file.seek(start)
        head = file.read(16)
        if len(head) < 8:
            raise ValueError(f"cut off in the box header at byte {start}")
        size, kind, header = int.from_bytes(head[:4], "big"), head[4:8], 8
        if size == 1:  # a 64-bit size follows the kind
            size, header = int.from_bytes(head[8:16], "big"), 16
        elif size == 0:  # the last box, to the end of the file
            size = length - start
        if size < header or start + size > length:
            raise ValueError(f"box {kind!r} at byte {start} claims {size} bytes, {length - start} are left")
        yield kind, start, header, start + size
        start += size


def boxes(data: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    """Kind and body of the boxes side by side in memory; ValueError where the last one is cut off."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if not 8 <= size <= len(data) - at:
            raise ValueError(f"box {kind!r} claims {size} bytes, {len(data) - at} are left")
        yield kind, data[at + 8 : at + size]
        at += size


def sample_sizes(moof: memoryview) -> list[int]:
    """Bytes of each sample (one per frame) that the `trun` boxes in a `moof` body announce, in the order of `mdat`."""
    sizes: list[int] = []
    default = 0
    for kind, body in boxes(moof):
        if kind == b"traf":
            sizes += sample_sizes(body)
        elif kind == b"tfhd":
            default = _default_size(body)
        elif kind == b"trun":
            sizes += _run_sizes(body, default)
    return sizes


def _default_size(tfhd: memoryview) -> int:
    """The sample size that a track fragment's header states for runs without sizes of their own, else 0."""
    flags, at = int.from_bytes(tfhd[1:4], "big"), 8
    for bit, length in ((0x1, 8), (0x2, 4), (0x8, 4)):  # offset of the data, description, duration
        at += length if flags & bit else 0
    return int(struct.unpack_from(">I", tfhd, at)[0]) if flags & 0x10 else 0


def _run_sizes(trun: memoryview, default: int) -> list[int]:
    flags, count = int.from_bytes(trun[1:4], "big"), struct.unpack_from(">I", trun, 4)[0]
    if not flags & 0x200:
        return [default] * count
    at = 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)  # offset of the data, flags of the first sample
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]  # duration, size, flags, composition time
    words = struct.unpack_from(f">{count * len(fields)}I", trun, at)
    return list(words[fields.index(0x200) :: len(fields)])
