"""Read the bytes of a clip: the init segment and the fragments with its frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.store.index import Index


class ClipError(Exception):
    """The bytes of a clip are missing, or do not decode to the frames of the index."""


@dataclass(frozen=True)
class EncodedClip:
    """A small video file in memory, and which of its frames are wanted.

    Attributes:
        data: uint8 (bytes,), the init segment and the fragments that hold the frames.
        frames: int32 (T,), the wanted frames counted from the first frame in `data`, in the order of the request.
        decoded: how many frames a decoder without seeking decodes to get them.
        init_size: bytes of the init segment; 0 when `data` is any other video file.
        fragments: bytes and frames of each fragment that follows.
    """

    data: NDArray[np.uint8]
    frames: NDArray[np.int32]
    decoded: int
    init_size: int = 0
    fragments: Sequence[tuple[int, int]] = ()


def read_clip(index: Index, i: int, frames: NDArray[np.integer]) -> EncodedClip:
    """Read the fragments of video `i` that hold `frames`.

    Args:
        frames: (T,), counted from the start of the video, in any order.

    Raises:
        ClipError: the file is missing or too short.
        IndexError: the video does not have these frames.
    """
    frames = np.asarray(frames)
    if not len(frames) or frames.min() < 0 or frames.max() >= index.num_frames[i]:
        raise IndexError(f"frames {frames.tolist()} of a video of {index.num_frames[i]} frames: {index.names.text(i)}")
    ends, frame_ends = index.fragment_ends[i], index.fragment_frame_ends[i]
    init_size = int(index.init_sizes[i])
    begins = np.concatenate([[init_size], ends[:-1]])
    frame_begins = np.concatenate([[0], frame_ends[:-1]])

    wanted = np.searchsorted(frame_ends, frames, side="right")
    used, slot = np.unique(wanted, return_inverse=True)
    counts = frame_ends[used] - frame_begins[used]
    shift = frame_begins[used] - (np.cumsum(counts) - counts)  # frame of the video -> frame of the clip
    relative = (frames - shift[slot]).astype(np.int32)

    fragments = list(zip((ends - begins)[used].tolist(), counts.tolist(), strict=True))
    ranges = [(0, init_size), *zip(begins[used].tolist(), ends[used].tolist(), strict=True)]
    try:
        data = index.storage.read(index.file(i), _merged(ranges))
    except OSError as error:
        raise ClipError(f"cannot read {index.path(i)}: {error.strerror or error}") from error
    return EncodedClip(data, relative, int(relative.max()) + 1, init_size, fragments)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join byte ranges that touch; they are in rising order."""
    merged = ranges[:1]
    for start, end in ranges[1:]:
        if start == merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged
