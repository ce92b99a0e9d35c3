"""Convert a clip to a plain MP4, for decoders that open a file in memory without seeking.

With fragments, FFmpeg must read all packets to count the frames. A sample table states the count, and a decoder that
runs to the end of the file decodes nothing beyond the last wanted frame. Boxes as in ISO/IEC 14496-12.
"""

import struct
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from configs.words import counted
from dali_pipelines.store.fmp4 import SAMPLE_DESCRIPTIONS, boxes, decoder_config, find, sample_table, samples
from dali_pipelines.store.headers import read_h264_sps
from dali_pipelines.store.nvdec import MIN_SURFACES, parameter_sets
from dali_pipelines.store.reader import EncodedClip
from dali_pipelines.store.record import ClipError

TIMESCALE = 25  # per second; each frame lasts one unit, whatever the video's frame rate
INIT_SEGMENTS = 1024  # cached per process, 1 kB each


def plain_mp4(clip: EncodedClip) -> NDArray[np.uint8]:
    """Return the packets up to the last wanted frame as an MP4 file: uint8 (bytes,).

    `clip.frames` indexes it as it does the clip. Samples are in decoding order, and shown in that of the fragments. An
    H.264 header that asks for too few surfaces is patched (`_patch_parameter_sets`). Files without an init segment are
    returned as is. ClipError if the init segment or a fragment is damaged.
    """
    if not clip.init_size:
        return clip.data
    try:
        init = _read_init(bytes(clip.data[: clip.init_size]))
        pictures, shown, keys = _samples(clip)
    except (ValueError, IndexError, StopIteration, struct.error) as error:
        raise ClipError(f"the fragments of the clip are damaged: {error or 'a box is missing'}") from error
    in_order = shown == list(range(len(shown)))
    # No picture depends on one that is decoded later.
    count = clip.decoded if in_order else 1 + max(at for at, place in enumerate(shown) if place < clip.decoded)
    tables = [init.descriptions, _table(b"stts", 1, count, 1), _table(b"stsc", 1, 1, count, 1)]
    tables.append(_box(b"stsz", struct.pack(f">3I{count}I", 0, 0, count, *map(len, pictures[:count]))))
    if not in_order:
        delay = max(at - place for at, place in enumerate(shown))
        offsets = [number for at, place in enumerate(shown[:count]) for number in (1, place - at + delay)]
        tables.append(_table(b"ctts", count, *offsets))
    if len(keys) < len(shown):
        keys = [key for key in keys if key <= count]
        tables.append(_table(b"stss", len(keys), *keys))
    head = init.file_type + _movie(init, count, b"".join(tables) + _table(b"stco", 1, 0))
    body = b"".join(pictures[:count])
    for old, new in init.patched:  # parameter sets also precede pictures
        body = body.replace(old, new)
    place = struct.pack(">II4s", len(head) + 8, len(body) + 8, b"mdat")  # the end of stco, then the next box
    return np.frombuffer(bytearray().join((head[:-4], place, body)), np.uint8)


def _samples(clip: EncodedClip) -> tuple[list[memoryview], list[int], list[int]]:
    """Return the samples in decoding order, the frame that each shows, and the 1-based numbers of key frames."""
    pictures: list[memoryview] = []
    shown: list[int] = []
    keys = []
    for fragment, count in clip.units():
        first = len(shown)
        keys.append(first + 1)
        shown += range(first, first + count)
        pictures += samples(fragment, count)
        if len(pictures) != len(shown):
            raise ValueError(f"a fragment of {counted(count, 'frame')} has {len(pictures) - first}")
        if count > 1:
            times = [time for kind, body, _ in boxes(fragment) if kind == b"moof" for time in sample_table(body)[1]]
            for place, number in enumerate(sorted(range(count), key=times.__getitem__), start=first):
                shown[first + number] = place
    return pictures, shown, keys


class _Init(NamedTuple):
    """Parts of an init segment: `ftyp` and `stsd` boxes, size in pixels, and parameter sets, each with its patch."""

    file_type: bytes
    descriptions: bytes
    width: int
    height: int
    patched: list[tuple[bytes, bytes]]


@lru_cache(maxsize=INIT_SEGMENTS)
def _read_init(init: bytes) -> _Init:
    view = memoryview(init)
    descriptions = bytes(find(view, *SAMPLE_DESCRIPTIONS))
    width, height = struct.unpack_from(">HH", descriptions, 8 + 32)
    patched: list[tuple[bytes, bytes]] = []
    if descriptions[12:16] in (b"avc1", b"avc3"):
        config = decoder_config(view, b"avcC")
        patched = _patch_parameter_sets(config)
        if patched:
            new = _without_flag(config)
            for old_set, new_set in patched:
                new = new.replace(old_set, new_set)
            descriptions = descriptions.replace(config, new)
    return _Init(_box(b"ftyp", find(view, b"ftyp")), _box(b"stsd", descriptions), width, height, patched)


def _patch_parameter_sets(config: bytes) -> list[tuple[bytes, bytes]]:
    """Return the parameter sets of an avcC body that ask for too few surfaces, each with its replacement.

    If every frame is a key frame, x264 sets constraint_set3_flag: no picture need be kept. NVDEC then allocates one
    surface, and DALI 2.4 uses more. Without the flag, the level sets the number, and the pixels are the same.
    """
    sets = [(nal, read_h264_sps(nal)) for nal in parameter_sets("h264", config)]
    return [(nal, _without_flag(nal)) for nal, sps in sets if sps.intra_only and sps.surfaces < MIN_SURFACES]


def _without_flag(data: bytes) -> bytes:
    """Clear constraint_set3_flag. The constraints are the third byte of an SPS and of an avcC."""
    return data[:2] + bytes([data[2] & ~0x10]) + data[3:]


_MATRIX = struct.pack(">9I", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def _movie(init: _Init, count: int, tables: bytes) -> bytes:
    movie = struct.pack(">5IIH10x36s24xI", 0, 0, 0, TIMESCALE, count, 1 << 16, 1 << 8, _MATRIX, 2)
    size = (init.width << 16, init.height << 16)
    track = struct.pack(">4I4xI16x36sII", 3, 0, 0, 1, count, _MATRIX, *size)  # 3: enabled, in the movie
    media = struct.pack(">5I2H", 0, 0, 0, TIMESCALE, count, 0x55C4, 0)  # language: undetermined
    information = _box(b"minf", _MEDIA_HEAD, _box(b"stbl", tables))
    media_box = _box(b"mdia", _box(b"mdhd", media), _HANDLER, information)
    return _box(b"moov", _box(b"mvhd", movie), _box(b"trak", _box(b"tkhd", track), media_box))


def _table(kind: bytes, *words: int) -> bytes:
    """Return a box of unsigned 32-bit numbers, version 0, no flags."""
    return struct.pack(f">I4sI{len(words)}I", 12 + 4 * len(words), kind, 0, *words)


def _box(kind: bytes, *parts: bytes | memoryview) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I4s", len(body) + 8, kind) + body


_HANDLER = _box(b"hdlr", struct.pack(">8x4s13x", b"vide"))
_MEDIA_HEAD = _box(b"vmhd", struct.pack(">I8x", 1)) + _box(  # 1: always set; the data is in this file
    b"dinf", _box(b"dref", struct.pack(">II", 0, 1), _box(b"url ", struct.pack(">I", 1)))
)
