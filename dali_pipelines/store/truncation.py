"""Detect truncated video files by their outermost structure.

Sources: the RIFF/AVI and OpenDML specifications, RFC 8794 (EBML) and RFC 9559 (Matroska), ISO/IEC 14496-12 4.2 (boxes),
Adobe Flash Video 10.1 E.3 (FLV), RFC 3533 6 (Ogg), the Advanced Systems Format specification 3.2 (ASF).
"""

import os
from collections.abc import Callable
from typing import BinaryIO

MAX_PARTS = 100_000
"""Most outermost parts to walk over; a file with more counts as whole."""
BLOCK = 1 << 20
EBML_HEADER = b"\x1a\x45\xdf\xa3"
ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def missing_share(file: BinaryIO) -> float | None:
    """Return the share of a video file's bytes missing at its end.

    0 if it is whole, or if its writer could not know the length, as when writing to a pipe. Zeros at the end count as
    missing: unfinished downloads leave them. None if the format does not tell.
    """
    size = file.seek(0, os.SEEK_END)
    head = _read(file, 0, 4096)
    if head[:4] == b"RIFF":
        end = _parts_end(file, size, _riff_length)
    elif head[:4] == EBML_HEADER:
        end = _parts_end(file, size, _ebml_length)
    elif head[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp"):
        end = _parts_end(file, size, _box_length)
    elif head[:16] == ASF_HEADER:
        at = head.find(ASF_FILE_PROPERTIES)
        end = int.from_bytes(head[at + 40 : at + 48], "little") if at >= 0 else 0
    else:
        last = head[:3] == b"FLV" and _ends_with_flv_tag(file, size)
        return 0.0 if last or (head[:4] == b"OggS" and _ends_with_last_page(file, size)) else None
    return max(0.0, 1 - _length_without_zeros(file, size, end) / end) if end else 0.0


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    file.seek(at)
    return file.read(count)


def _length_without_zeros(file: BinaryIO, size: int, end: int) -> int:
    """Return the length of a file without trailing zeros, at most `end`."""
    while size:
        begin = max(size - BLOCK, 0)
        held = len(_read(file, begin, size - begin).rstrip(b"\0"))
        size = begin + held
        if held:
            break
    return min(size, end)


def _parts_end(file: BinaryIO, size: int, length_of: Callable[[bytes, int], int | None]) -> int:
    """Return where the last outermost part of a file ends; 0 if that is unknown.

    `length_of` maps a part's first 16 bytes, and the bytes left in the file, to the part's length: 0 if no part begins
    there, None if its writer did not know.
    """
    at = 0
    for _ in range(MAX_PARTS):
        if at >= size:  # `at` may be too large to seek to
            return at
        length = length_of(_read(file, at, 16), size - at)
        if not length:
            return 0 if length is None else at
        at += length
    return 0


def _riff_length(head: bytes, left: int) -> int | None:
    """Return the length of a RIFF chunk; an AVI above 1 GiB has several."""
    length = int.from_bytes(head[4:8], "little")
    if head[:4] != b"RIFF":
        return 0
    return None if length in (0, 0xFFFFFFFF) else 8 + length + length % 2


def _box_length(head: bytes, left: int) -> int:
    """Return the length of an MP4 or QuickTime box."""
    if len(head) < 8:
        return 0
    length = int.from_bytes(head[:4])
    length = int.from_bytes(head[8:]) if length == 1 else length
    return left if length < 8 else length  # 0: to the end of the file; else not a box


def _ebml_length(head: bytes, left: int) -> int | None:
    """Return the length of a Matroska element."""
    skip = 9 - head[0].bit_length()  # bytes of the id
    if skip > 4 or len(head) <= skip or not head[skip]:
        return left
    width = 9 - head[skip].bit_length()
    length = int.from_bytes(head[skip : skip + width]) & ((1 << 7 * width) - 1)
    return None if length == (1 << 7 * width) - 1 else skip + width + length


def _ends_with_flv_tag(file: BinaryIO, size: int) -> bool:
    """Tell whether a file ends with a complete FLV tag followed by its size."""
    tag = int.from_bytes(_read(file, max(size - 4, 0), 4))
    at = size - 4 - tag
    return at > 0 and int.from_bytes(_read(file, at + 1, 3)) == tag - 11


def _ends_with_last_page(file: BinaryIO, size: int) -> bool:
    """Tell whether the last page of an Ogg file is flagged as the end of its stream."""
    tail = _read(file, max(size - 0x10000, 0), 0x10000)
    at = tail.rfind(b"OggS")
    return at >= 0 and len(tail) > at + 5 and bool(tail[at + 5] & 4)
