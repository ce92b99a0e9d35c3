"""The bytes of a clip: the init segment and the fragments with its frames."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dali_pipelines.store.index import Index


class ClipError(Exception):
    """The bytes of a clip are not there, or do not decode to the frames that the index promises."""


@dataclass(frozen=True)
class EncodedClip:
    """A small video file in memory, and which of its frames are wanted.

    data: uint8 (bytes,), the init segment and the fragments that hold the frames.
    frames: int32 (T,), the wanted frames counted from the first frame in `data`; order and repeats as asked.
    decoded: how many frames a decoder without seeking decodes to get them.
    init_size: bytes of the init segment; 0 when `data` is some other video file.
    fragments: bytes and frames of each that follows it.
    """

    data: NDArray[np.uint8]
    frames: NDArray[np.int32]
    decoded: int
    init_size: int = 0
    fragments: Sequence[tuple[int, int]] = ()


def read_clip(index: Index, i: int, frames: NDArray[np.integer]) -> EncodedClip:
    """Reads the fragments of video `i` that hold `frames` (T,), counted from the start of the video.

    ClipError when the file is gone or short; IndexError for frames that the video does not have.
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
    data = _read_ranges(index.path(i), _merged(ranges))
    return EncodedClip(data, relative, int(relative.max()) + 1, init_size, fragments)


def _merged(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Byte ranges in rising order, those that touch joined into one."""
    merged = ranges[:1]
    for start, end in ranges[1:]:
        if start == merged[-1][1]:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _read_ranges(path: Path, ranges: list[tuple[int, int]]) -> NDArray[np.uint8]:
    data = np.empty(sum(end - start for start, end in ranges), np.uint8)
    view, at = data.data, 0
    try:
        file = os.open(path, os.O_RDONLY)
        try:
            for start, end in ranges:
                while start < end:  # one read returns at most 2 GiB
                    got = os.preadv(file, [view[at : at + end - start]], start)
                    if got == 0:
                        raise ClipError(f"{path} ends at byte {start}, the index expects {end}: prepare it again")
                    start, at = start + got, at + got
        finally:
            os.close(file)
    except OSError as error:
        raise ClipError(f"cannot read {path}: {error.strerror}") from error
    return data
