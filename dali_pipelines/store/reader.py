"""Read the bytes of a clip: the init segment and the fragments with its frames."""

import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from configs.errors import shown
from configs.words import counted
from dali_pipelines.store.index import Index
from dali_pipelines.store.place import PICTURE
from dali_pipelines.store.record import ClipError
from dali_pipelines.store.storage import (
    Span,
    is_url,
    is_web,
    joined,
    merged,
    quoted,
    require_unchanged,
    storage_of,
    unquoted,
)

MAX_INFLATED = 2**28
"""Most bytes of an inflated picture; the largest real ones have a tenth."""
PICTURE_BYTES = 8
"""Most bytes per pixel of a picture: incompressible 16-bit RGBA."""
MAX_DIGITS = 18


@dataclass(frozen=True, eq=False)
class EncodedClip:
    """A small video file in memory, and which of its frames are wanted.

    Attributes:
        data: uint8 (bytes,), the init segment and the fragments that hold the frames.
        frames: int32 (T,), the wanted frames counted from the first frame in `data`, in the requested order.
        init_size: bytes of the init segment; 0 if `data` is any other video file, or pictures.
        fragments: size in bytes and number of frames of each fragment.
        codec: "mjpeg" or "png" for pictures, each a fragment of one frame; else empty.
        size: width and height of the frames; None if unknown.
    """

    data: NDArray[np.uint8]
    frames: NDArray[np.int32]
    init_size: int = 0
    fragments: Sequence[tuple[int, int]] = ()
    codec: str = ""
    size: tuple[int, int] | None = None

    @property
    def decoded(self) -> int:
        """Return how many frames a decoder without seeking decodes to get the wanted ones."""
        return int(self.frames.max()) + 1

    def units(self) -> Iterator[tuple[memoryview, int]]:
        """Yield the bytes of each fragment and its number of frames."""
        at = self.init_size
        for size, count in self.fragments:
            yield self.data.data[at : at + size], count
            at += size


@dataclass(frozen=True, eq=False)
class LocatedClip:
    """Where the bytes of a clip are: the spans of the init segment and of the fragments, in order.

    `location` is the video's, as messages name it; `deflated` is bool (N,), of each fragment; `left_in_place` tells
    that the files are the user's, who may replace them. The clip lacks its bytes, and its fragment sizes are those in
    the file.
    """

    location: str
    spans: Sequence[Span]
    deflated: NDArray[np.bool_]
    clip: EncodedClip
    left_in_place: bool = False

    @property
    def nbytes(self) -> int:
        """Return how many bytes are read."""
        return sum(span.end - span.start for span in self.spans)

    def read(self) -> EncodedClip:
        """Read the clip; ClipError if a file is missing, too short or another one than was prepared."""
        try:
            if self.left_in_place and not is_url(self.location):  # there it would cost a request
                require_unchanged(self.spans)
            data = storage_of(self.location).read(self.spans)
        except OSError as error:
            name = os.path.basename(error.filename or self.location)  # of one of the pictures in the folder, maybe
            file = os.path.join(os.path.dirname(self.location), name)
            raise ClipError(f"cannot read {shown(file)}: {error.strerror or error}") from error
        clip = replace(self.clip, data=data)
        return _inflated(clip, self.deflated) if self.deflated.any() else clip


def locate_clip(index: Index, i: int, frames: NDArray[np.integer]) -> LocatedClip:
    """Find the fragments of video `i` that hold `frames`: (T,), from the start of the video, in any order.

    IndexError if the video does not have these frames.
    """
    frames = np.asarray(frames)
    info, units, container = index.info(i), index.units(i), index.container(i)
    if not len(frames) or frames.min() < 0 or frames.max() >= info.num_frames:
        count = counted(info.num_frames, "frame")
        raise IndexError(f"frames {frames.tolist()} of a video of {count}: {shown(info.name)}")
    frame_begins = np.concatenate([[0], units.frame_ends[:-1]])
    wanted = np.searchsorted(units.frame_ends, frames, side="right")
    used, slot = np.unique(wanted, return_inverse=True)
    counts = units.frame_ends[used] - frame_begins[used]
    shift = frame_begins[used] - (np.cumsum(counts) - counts)  # frame of the video -> frame of the clip

    location = index.location(i)
    places = [picture_file(location, n) for n in used.tolist()] if container == "picture_files" else repeat(location)
    spans = map(Span, places, units.starts[used].tolist(), units.ends[used].tolist())
    clip = EncodedClip(
        np.empty(0, np.uint8),
        (frames - shift[slot]).astype(np.int32),
        init_size=units.init[1] - units.init[0],
        fragments=list(zip((units.ends[used] - units.starts[used]).tolist(), counts.tolist(), strict=True)),
        codec=index.codec(i) if container in ("pictures", "picture_files") else "",
        size=(info.width, info.height),
    )
    named = joined(index.root, index.file(i))
    places_read = merged([Span(location, *units.init), *spans])
    return LocatedClip(
        named, places_read, units.deflated[used], clip, left_in_place=container in ("file", "picture_files")
    )


def read_clip(index: Index, i: int, frames: NDArray[np.integer]) -> EncodedClip:
    """Read the fragments of video `i` that hold `frames`; errors as in `locate_clip` and `LocatedClip.read`."""
    return locate_clip(index, i, frames).read()


def picture_file(first: str, number: int) -> str:
    """Return the location of the picture `number` after `first` in a numbered series; ClipError without numbers."""
    folder, slash, name = first.rpartition("/")
    web = is_web(folder)
    match = PICTURE.fullmatch(unquoted(name) if web else name)
    if not match or not 0 < len(match["number"]) <= MAX_DIGITS:
        raise ClipError(f"{shown(first)} is not the first of numbered pictures")
    name = f"{match['prefix']}{int(match['number']) + number:0{len(match['number'])}d}{match['suffix']}"
    return folder + slash + (quoted(name) if web else name)


def _inflated(clip: EncodedClip, deflated: NDArray[np.bool_]) -> EncodedClip:
    """Decompress the deflated pictures of a clip."""
    most = None if clip.size is None else PICTURE_BYTES * (clip.size[0] * clip.size[1] + (1 << 16))
    parts = [inflate(part, most) if raw else part for (part, _), raw in zip(clip.units(), deflated, strict=True)]
    sizes = [(len(part), count) for part, (_, count) in zip(parts, clip.fragments, strict=True)]
    return replace(clip, data=np.frombuffer(bytearray().join(parts), np.uint8), fragments=sizes)


def inflate(data: bytes | memoryview, most: int | None = None) -> bytes:
    """Decompress a raw DEFLATE stream; ClipError if it is damaged, cut off or larger than any picture."""
    most = most or MAX_INFLATED
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        whole = stream.decompress(data, most)
    except zlib.error as error:
        raise ClipError(f"a picture of the archive does not decompress: {error}") from error
    if not stream.eof:
        why = f"it has more than {most} bytes" if stream.unconsumed_tail else "it is cut off"
        raise ClipError(f"a picture of the archive does not decompress: {why}")
    return whole
