"""Read the bytes of a clip: the init segment and the fragments with its frames."""

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import repeat
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from configs.errors import shown
from dali_pipelines.store.index import Index
from dali_pipelines.store.record import ClipError
from dali_pipelines.store.storage import Span, is_web, merged, storage_of

MOST_INFLATED = 2**28
"""Bytes of a deflated picture; the largest real ones have a tenth of them."""


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
        size: width and height of its frames; None where nobody has told.
    """

    data: NDArray[np.uint8]
    frames: NDArray[np.int32]
    decoded: int
    init_size: int = 0
    fragments: Sequence[tuple[int, int]] = ()
    codec: str = ""
    size: tuple[int, int] | None = None

    def units(self) -> Iterator[tuple[memoryview, int]]:
        """Yield the bytes of each fragment, and how many frames it holds."""
        at = self.init_size
        for size, count in self.fragments:
            yield self.data.data[at : at + size], count
            at += size


MOST_DIGITS = 18
PICTURE_BYTES = 8
"""Of a picture, for each pixel, at most: 16-bit RGBA that does not compress."""


@dataclass(frozen=True)
class LocatedClip:
    """Where the bytes of a clip lie.

    Attributes:
        location: of the video, for messages.
        spans: the init segment and the fragments, one after the other.
        sizes: int64 (N,), bytes of each fragment; deflated: bool (N,).
        counts: int64 (N,), frames of each.
        Others as in `EncodedClip`.
    """

    location: str
    spans: Sequence[Span]
    sizes: NDArray[np.int64]
    deflated: NDArray[np.bool_]
    counts: NDArray[np.int64]
    frames: NDArray[np.int32]
    init_size: int
    codec: str
    size: tuple[int, int]

    @property
    def nbytes(self) -> int:
        """Return how many bytes are read."""
        return sum(span.end - span.start for span in self.spans)

    def read(self) -> EncodedClip:
        """Read them; ClipError when the file is missing or too short."""
        try:
            data, sizes = storage_of(self.location).read(self.spans), self.sizes
        except OSError as error:
            raise ClipError(f"cannot read {shown(self.location)}: {error.strerror or error}") from error
        if self.deflated.any():
            most = PICTURE_BYTES * (self.size[0] * self.size[1] + (1 << 16))
            data, sizes = _inflated(data, sizes, self.deflated, most)
        return EncodedClip(
            data,
            self.frames,
            int(self.frames.max()) + 1,
            init_size=self.init_size,
            fragments=list(zip(sizes.tolist(), self.counts.tolist(), strict=True)),
            codec=self.codec,
            size=self.size,
        )


def locate_clip(index: Index, i: int, frames: NDArray[np.integer]) -> LocatedClip:
    """Find the fragments of video `i` that hold `frames`.

    Args:
        frames: (T,), counted from the start of the video, in any order.

    Raises:
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

    location = index.location(i)
    places = [picture_file(location, n) for n in used.tolist()] if container == "picture_files" else repeat(location)
    spans = map(Span, places, units.starts[used].tolist(), units.ends[used].tolist())
    return LocatedClip(
        location,
        merged([Span(location, *units.init), *spans]),
        units.ends[used] - units.starts[used],
        units.deflated[used],
        counts,
        (frames - shift[slot]).astype(np.int32),
        init_size=units.init[1] - units.init[0],
        codec=index.codec(i) if container in ("pictures", "picture_files") else "",
        size=(info.width, info.height),
    )


def read_clip(index: Index, i: int, frames: NDArray[np.integer]) -> EncodedClip:
    """Read the fragments of video `i` that hold `frames`; errors of `locate_clip` and `LocatedClip.read`."""
    return locate_clip(index, i, frames).read()


def picture_file(first: str, number: int) -> str:
    """Return the location of a picture of a numbered series, `number` after the first; ClipError without a number."""
    folder, slash, name = first.rpartition("/")
    web = is_web(folder)
    stem, dot, suffix = (unquote(name, errors="surrogateescape") if web else name).rpartition(".")
    digits = len(stem) - len(stem.rstrip("0123456789"))
    head, start = stem[: len(stem) - digits], stem[len(stem) - digits :]
    if not 0 < digits <= MOST_DIGITS:
        raise ClipError(f"{shown(first)} is not the first of numbered pictures")
    name = f"{head}{int(start) + number:0{digits}d}{dot}{suffix}"
    return folder + slash + (quote(name, errors="surrogateescape") if web else name)


def _inflated(
    data: NDArray[np.uint8], sizes: NDArray[np.int64], deflated: NDArray[np.bool_], most: int
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Decompress the units that are deflated; return all units and the bytes of each, at most `most`."""
    at = np.cumsum(sizes) - sizes
    parts = [data[start : start + size].data for start, size in zip(at.tolist(), sizes.tolist(), strict=True)]
    whole = [inflate(part, most) if raw else part for part, raw in zip(parts, deflated, strict=True)]
    return np.frombuffer(bytearray().join(whole), np.uint8), np.array([len(part) for part in whole])


def inflate(data: bytes | memoryview, most: int | None = None) -> bytes:
    """Decompress a raw DEFLATE stream; ClipError when it is damaged, cut off or larger than any picture."""
    most = most or MOST_INFLATED
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        whole = stream.decompress(data, most)
    except zlib.error as error:
        raise ClipError(f"a picture of the archive does not decompress: {error}") from error
    if not stream.eof:
        why = f"it has more than {most} bytes" if stream.unconsumed_tail else "it is cut off"
        raise ClipError(f"a picture of the archive does not decompress: {why}")
    return whole
