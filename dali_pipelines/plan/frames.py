"""Which frames make a clip (specs/ctp.md 0.2)."""

from collections.abc import Sequence

import numpy as np


def random_clip(
    num_frames: int, rng: np.random.Generator, *, length: int, strides: Sequence[int], jitter: bool
) -> np.ndarray:
    """Frame numbers of one clip at a random stride and start, int32 (length,).

    With jitter every frame moves on by 0 to stride-1 on its own; the span does not count the jitter, so the last
    frames may clamp. A video shorter than the span starts at frame 0 and repeats its last frame.
    """
    stride = int(rng.choice(np.asarray(strides)))
    span = stride * (length - 1) + 1
    start = 0 if span >= num_frames else int(rng.integers(0, num_frames - span, endpoint=True))
    frames = start + stride * np.arange(length)
    if jitter and stride > 1:
        frames += rng.integers(0, stride, size=length)
    return np.minimum(frames, num_frames - 1).astype(np.int32)


def uniform_clips(num_frames: int, *, clips: int, length: int, stride: int) -> np.ndarray:
    """Frame numbers of `clips` clips spread evenly over a video, int32 (clips, length).

    Clip k starts at floor(tick/2 + tick*k) with tick = (num_frames - length*stride + 1)/clips; a video too short
    for that starts every clip at 0. Numbers past the end clamp to the last frame.
    """
    room = num_frames - length * stride + 1
    tick = max(room, 0) / clips
    starts = np.floor(tick / 2 + tick * np.arange(clips)).astype(np.int32) if room > 0 else np.zeros(clips, np.int32)
    frames = starts[:, None] + stride * np.arange(length, dtype=np.int32)
    return np.minimum(frames, num_frames - 1).astype(np.int32)
