"""Read the bytes of a clip: the init segment and the fragments with its frames."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from configs.errors import shown
from dali_pipelines.store.index import ClipError as ClipError
from dali_pipelines.store.index import Index
from dali_pipelines.store.storage import Span, merged, storage_of


@dataclass(frozen=True)
class EncodedClip:
    """A small video file in memory, and which of its frames are wanted.

    Attributes:
        data: uint8 (bytes,), the init segment and the fragments that hold the frames.
        frames: int32 (T,), the wanted frames counted from the first frame in `data`, in the order of the request.
        decoded: how many frames a decoder without seeking decodes to get them.
        init_size: bytes of the init segment; 0 when `data` is any other video file, or pictures.
        fragments: bytes and frames of each fragment that follows.
        codec: of pictures, each of which is a fragment of one frame: "mjpeg" or "png"; else empty.
    """

    data: NDArray[np.uint8]
    frames: NDArray[np.int32]
    decoded: int
    init_size: int = 0
    fragments: Sequence[tuple[int, int]] = ()
    codec: str = ""


MOST_DIGITS = 18
PICTURE_BYTES = 8
"""Of a picture, for each pixel, at most: 16-bit RGBA that does not compress."""


def read_clip(index: Index, i: int, frames: NDArray[np.integer]) -> EncodedClip:
    """Read the fragments of video `i` that hold `frames`.

    Args:
        frames: (T,), counted from the start of the video, in any order.

    Raises:
        ClipError: the file is missing or too short.
        IndexError: the video does not have these frames.
    """
    frames = np.asarray(frames)
    info, units, container = index.info(i), index.units(i), index.container(i)
    if not len(frames) or frames.min() < 0 or frames.max() >= info.num_frames:
        raise IndexError(f"frames {frames.tolist()} of a video of {info.num_frames} frames: {shown(info.name)}")
    frame_begins = np.concatenate([[0], units.frame_ends[:-1]])
    wanted = np.searchsorted(units.frame_ends, frames, side="right")
    used, slot = np.unique(wanted, return_inverse=True)
    counts = units.frame_ends[used] - frame_begins[used]
    shift = frame_begins[used] - (np.cumsum(counts) - counts)  # frame of the video -> frame of the clip
    relative = (frames - shift[slot]).astype(np.int32)

    location, sizes = index.location(i), units.ends[used] - units.starts[used]
    apart = container == "picture_files"
    places = [picture_file(location, n) for n in used.tolist()] if apart else repeat(location)
    spans = map(Span, places, units.starts[used].tolist(), units.ends[used].tolist())
    try:
        data = storage_of(location).read(merged([Span(location, *units.init), *spans]))
    except OSError as error:
        raise ClipError(f"cannot read {shown(location)}: {error.strerror or error}") from error
    if units.deflated[used].any():
        most = PICTURE_BYTES * (info.width * info.height + (1 << 16))
        data, sizes = _inflated(data, sizes, units.deflated[used], most)
    return EncodedClip(
        data,
        relative,
        int(relative.max()) + 1,
        init_size=units.init[1] - units.init[0],
        fragments=list(zip(sizes.tolist(), counts.tolist(), strict=True)),
        codec=index.codec(i) if container in ("pictures", "picture_files") else "",
    )


def picture_file(first: str, number: int) -> str:
    """Return the location of a picture of a numbered series, `number` after the first; ClipError without a number."""
    stem, dot, suffix = first.rpartition(".")
    digits = len(stem) - len(stem.rstrip("0123456789"))
    head, start = stem[: len(stem) - digits], stem[len(stem) - digits :]
    if not 0 < digits <= MOST_DIGITS:
        raise ClipError(f"{shown(first)} is not the first of numbered pictures")
    return f"{head}{int(start) + number:0{digits}d}{dot}{suffix}"


def _inflated(
    data: NDArray[np.uint8], sizes: NDArray[np.int64], deflated: NDArray[np.bool_], most: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Decompress the units that are deflated; return all units and the bytes of each, at most `most`."""
    at = np.cumsum(sizes) - sizes
    parts = [data[start : start + size].data for start, size in zip(at.tolist(), sizes.tolist(), strict=True)]
    try:
        whole = [_inflate(part, most) if raw else part for part, raw in zip(parts, deflated, strict=True)]
    except zlib.error as error:
        raise ClipError(f"a picture of the archive does not decompress: {error}") from error
    return np.frombuffer(bytearray().join(whole), np.uint8), np.array([len(part) for part in whole])


def _inflate(part: memoryview, most: int) -> bytes:
    inflater = zlib.decompressobj(-15)
    whole = inflater.decompress(part, most)
    if not inflater.eof:
        raise ClipError(f"a picture of the archive is cut off, or of more than {most} bytes")
    return whole
