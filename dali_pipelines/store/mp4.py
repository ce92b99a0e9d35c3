"""A clip as a plain MP4, for DALI's decoder.

A demuxer does not know the number of frames of a fragmented MP4, so DALI reads that twice, to count and to decode. Here
the header counts them, nothing follows the last frame that is wanted, and the parameter sets leave a hardware decoder
the surfaces that it needs.
"""

import itertools
import struct
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.store.fmp4 import boxes, child, samples
from dali_pipelines.store.headers import FEWEST_SURFACES, mend_in_band, mended, surfaces
from dali_pipelines.store.packets import only_packet
from dali_pipelines.store.reader import ClipError, EncodedClip

TIMESCALE = 25  # frames a second; nobody looks
HEADERS = 16
VISUAL_SAMPLE_ENTRY = 78
"""Bytes before the boxes in it (ISO/IEC 14496-12 12.1.3)."""
CODECS = {b"avc1": "h264", b"avc3": "h264", b"hvc1": "hevc", b"hev1": "hevc"}
RECORDS = {"h264": b"avcC", "hevc": b"hvcC"}


def plain_mp4(clip: EncodedClip) -> NDArray[np.uint8]:
    """Return a clip as an MP4 that ends with the last frame that is needed, uint8 (bytes,).

    Its frames are those of `clip.data` in the order of presentation, so that `clip.frames` counts them too. A clip
    that is no fragments (`init_size` 0) is returned as it is. ClipError for fragments that are not whole.
    """
    if not clip.init_size:
        return clip.data
    packets: list[memoryview] = []
    shown: list[int] = []
    keys: list[int] = []
    try:
        header = _header(clip.data[: clip.init_size].tobytes())
        at = clip.init_size
        for length, count in clip.fragments:
            keys.append(len(packets))
            _split(clip.data.data[at : at + length], count, packets, shown)
            at += length
        last = int(clip.frames.max())
        needed = 1 + max(decoded for decoded, place in enumerate(shown) if place <= last)
        del packets[needed:], shown[needed:]
        if header.single_surface:
            packets = [_mended_packet(packet, header.length_size) for packet in packets]
        tables = _tables([len(packet) for packet in packets], shown, [key for key in keys if key < needed], header)
    except (ValueError, IndexError, struct.error) as error:
        raise ClipError(f"the fragments of the clip are damaged: {error}") from error
    return np.frombuffer(b"".join([tables, *packets]), np.uint8)


def _split(fragment: memoryview, count: int, packets: list[memoryview], shown: list[int]) -> None:
    """Append the packets of a fragment of `count` frames, and the places in which they are shown."""
    first, places = len(packets), [0]
    if count == 1:
        packets += only_packet(fragment)
    else:
        sizes: list[int] = []
        for kind, body in boxes(fragment):
            if kind == b"moof":
                found = samples(body)
                sizes, places = found.sizes, found.shown
            elif kind == b"mdat":
                ends = list(itertools.accumulate(sizes))
                packets += [body[end - size : end] for end, size in zip(ends, sizes, strict=True) if end <= len(body)]
    if len(packets) - first != count or len(places) != count:
        raise ValueError(f"{len(packets) - first} of {count} frames of a fragment are there")
    shown += [first + place for place in places]


class _Header(NamedTuple):
    """What all clips with one init segment share.

    single_surface: the parameter sets were mended; those among the packets must be too, if there are any.
    """

    entry: bytes
    width_height: bytes
    single_surface: bool
    length_size: int


@lru_cache(maxsize=HEADERS)
def _header(init: bytes) -> _Header:
    track = child(memoryview(init), b"moov", b"trak")
    described = child(track, b"mdia", b"minf", b"stbl", b"stsd")[8:]
    size = int.from_bytes(described[:4], "big")
    entry = bytes(described[:size])
    codec = CODECS.get(entry[4:8], "")
    single, length_size = False, 4
    if codec:
        record = bytes(child(memoryview(entry)[8 + VISUAL_SAMPLE_ENTRY :], RECORDS[codec]))
        length_size = (record[4 if codec == "h264" else 21] & 3) + 1
        single = codec == "h264" and surfaces(codec, record) < FEWEST_SURFACES
        if single:
            entry = entry.replace(record, mended(record))
    return _Header(entry, bytes(child(track, b"tkhd")[-8:]), single, length_size)


def _mended_packet(packet: memoryview, length_size: int) -> memoryview:
    changed = bytearray(packet)
    mend_in_band(changed, length_size)
    return memoryview(changed)


def _tables(sizes: Sequence[int], shown: Sequence[int], keys: Sequence[int], header: _Header) -> bytes:
    """All of the file before the packets (ISO/IEC 14496-12 4.3, 6.2, 8)."""
    count = len(sizes)
    tables = [
        _box(b"stsd", _FULL + struct.pack(">I", 1) + header.entry),
        _box(b"stts", _FULL + struct.pack(">3I", 1, count, 1)),
        _box(b"stsc", _FULL + struct.pack(">4I", 1, 1, count, 1)),
        _box(b"stsz", _FULL + struct.pack(f">2I{count}I", 0, count, *sizes)),
    ]
    if any(place != decoded for decoded, place in enumerate(shown)):
        delays = (number for decoded, place in enumerate(shown) for number in (1, place - decoded))
        tables.append(_box(b"ctts", b"\1\0\0\0" + struct.pack(f">I{2 * count}i", count, *delays)))
    if len(keys) < count:
        tables.append(_box(b"stss", _FULL + struct.pack(f">I{len(keys)}I", len(keys), *(key + 1 for key in keys))))
    duration = struct.pack(">I", count)
    tracks = b"\0\0\0\3" + bytes(8) + b"\0\0\0\1" + bytes(4) + duration + bytes(16) + _MATRIX + header.width_height
    media = _FULL + bytes(8) + struct.pack(">I", TIMESCALE) + duration + b"\x55\xc4\0\0"
    movie = _FULL + bytes(8) + struct.pack(">I", TIMESCALE) + duration + _MOVIE
    chunk = _box(b"stco", _FULL + struct.pack(">2I", 1, 0))
    information = _box(b"minf", _VIDEO + _box(b"stbl", *tables, chunk))
    track = _box(b"trak", _box(b"tkhd", tracks), _box(b"mdia", _box(b"mdhd", media), _HANDLER, information))
    movie_box = _box(b"moov", _box(b"mvhd", movie), track)
    place_of_data = len(_FILE_TYPE) + len(movie_box) + 8
    data = struct.pack(">I4s", 8 + sum(sizes), b"mdat")
    return _FILE_TYPE + movie_box[:-4] + struct.pack(">I", place_of_data) + data  # the last box holds it


def _box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", 8 + len(body), kind) + body


_FULL = bytes(4)  # version and flags
_MATRIX = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
_MOVIE = struct.pack(">IH", 1 << 16, 1 << 8) + bytes(10) + _MATRIX + bytes(24) + struct.pack(">I", 2)
_FILE_TYPE = _box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")
_HANDLER = _box(b"hdlr", _FULL, bytes(4), b"vide", bytes(13))
_VIDEO = _box(b"vmhd", b"\0\0\0\1", bytes(8)) + _box(
    b"dinf", _box(b"dref", _FULL, struct.pack(">I", 1), _box(b"url ", b"\0\0\0\1"))
)
