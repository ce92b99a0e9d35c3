"""The layout of a fragmented MP4: where the init segment ends and where each fragment lies.

A fragmented MP4 is `ftyp moov [sidx] (moof mdat)* [mfra]` (ISO/IEC 14496-12). The boxes before the first
`moof` are the init segment; followed by any of the fragments it is again an MP4 that a demuxer reads.
"""

import itertools
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
                counts.append(len(samples(memoryview(file.read(stop - start - header))).sizes))
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


def child(data: memoryview, *path: bytes) -> memoryview:
    """The body of the box at `path`, the first of its kind on each level; ValueError where it is not there."""
    for name in path:
        found = next((body for kind, body in boxes(data) if kind == name), None)
        if found is None:
            raise ValueError(f"there is no {name.decode()} box")
        data = found
    return data


class Samples(NamedTuple):
    """The samples of a fragment, one per frame, in the order of `mdat`, which is that of decoding.

    sizes: bytes of each. delays: of each, from when it is decoded to when it is shown; durations: until the next is
    decoded; both in the track's unit of time.
    """

    sizes: list[int]
    delays: list[int]
    durations: list[int]

    @property
    def shown(self) -> list[int]:
        """The place of each sample in the order of presentation, from 0."""
        if not any(self.delays):
            return list(range(len(self.sizes)))
        starts = itertools.accumulate(self.durations, initial=0)
        times = [start + delay for start, delay in zip(starts, self.delays, strict=False)]
        rank = [0] * len(times)
        for place, sample in enumerate(sorted(range(len(times)), key=times.__getitem__)):
            rank[sample] = place
        return rank


def samples(moof: memoryview) -> Samples:
    """What the `trun` boxes in a `moof` body announce (ISO/IEC 14496-12 8.8.8)."""
    found = Samples([], [], [])
    duration = size = 0
    for kind, body in boxes(moof):
        if kind == b"traf":
            for mine, more in zip(found, samples(body), strict=True):
                mine += more
        elif kind == b"tfhd":
            duration, size = _defaults(body)
        elif kind == b"trun":
            run = _run(body, duration, size)
            for mine, more in zip(found, run, strict=True):
                mine += more
    return found


def _defaults(tfhd: memoryview) -> tuple[int, int]:
    """The duration and size that a track fragment's header states for runs without their own, else 0."""
    flags, at = int.from_bytes(tfhd[1:4], "big"), 8
    at += 8 * bool(flags & 0x1) + 4 * bool(flags & 0x2)  # offset of the data, description
    values = []
    for bit in (0x8, 0x10):
        values.append(struct.unpack_from(">I", tfhd, at)[0] if flags & bit else 0)
        at += 4 * bool(flags & bit)
    return values[0], values[1]


def _run(trun: memoryview, duration: int, size: int) -> Samples:
    flags, count = int.from_bytes(trun[1:4], "big"), struct.unpack_from(">I", trun, 4)[0]
    at = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)  # offset of the data, flags of the first sample
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]  # duration, size, flags, delay
    words = struct.unpack_from(f">{count * len(fields)}i", trun, at)

    def column(bit: int, default: int) -> list[int]:
        return list(words[fields.index(bit) :: len(fields)]) if bit in fields else [default] * count

    return Samples(column(0x200, size), column(0x800, 0), column(0x100, duration))
