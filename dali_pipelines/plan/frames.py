"""Choose the frames of a clip (specs/ctp.md 0.2)."""

from collections.abc import Sequence

import numpy as np


def random_clip(
    num_frames: int, rng: np.random.Generator, *, length: int, strides: Sequence[int], jitter: bool, unused: int = 0
) -> np.ndarray:
    """Draw the frame numbers of one clip at a random stride and start, int32 (length,).

    With jitter, each frame is shifted by 0 to stride-1 independently; the span does not include the jitter, so the
    last frames may clamp. In a video shorter than the span, the clip starts at frame 0 and repeats the last frame.
    The last `unused` frames of a video are in no clip, if it is long enough.
    """
    stride = int(rng.choice(np.asarray(strides)))
    span = stride * (length - 1) + 1
    last = num_frames - span - unused
    start = 0 if last <= 0 else int(rng.integers(0, last, endpoint=True))
    frames = start + stride * np.arange(length)
    if jitter and stride > 1:
        frames += rng.integers(0, stride, size=length)
    return np.minimum(frames, num_frames - 1).astype(np.int32)


def uniform_clips(num_frames: int, *, clips: int, length: int, stride: int) -> np.ndarray:
    """Return the frame numbers of `clips` clips spread evenly over a video, int32 (clips, length).

    Clip k starts at floor(tick/2 + tick*k) with tick = (num_frames - length*stride + 1)/clips; a video too short
    for that starts every clip at 0. Numbers past the end clamp to the last frame.
    """
    tick = max(num_frames - length * stride + 1, 0) / clips
    starts = np.floor(tick / 2 + tick * np.arange(clips)).astype(np.int32)
    frames = starts[:, None] + stride * np.arange(length)  # in 64 bits: a stride may have 31
    clamped: np.ndarray = np.minimum(frames, num_frames - 1).astype(np.int32)
    return clamped


def window_starts(num_frames: int, *, span: int, step: int) -> np.ndarray:
    """Return the first frames of windows of `span` frames, one every `step`, int64 (windows,) (specs/evaluation.md 1).

    If frames are left over, a last window ends with the video; the original drops them. A video that is no longer
    than a window has one.
    """
    last = max(num_frames - span, 0)
    return np.union1d(np.arange(0, last + 1, step), last)


def clip_at_speed(num_frames: int, rng: np.random.Generator, *, length: int, speed: int) -> np.ndarray:
    """Draw the frame numbers of a clip at `speed` from a random start, int32 (length,) (specs/ctp.md 1.5).

    A negative speed plays backwards, 0 repeats one frame. Short videos are handled as in `random_clip`; played
    backwards, they begin with repeats of the last frame.
    """
    frames = random_clip(num_frames, rng, length=length, strides=(abs(speed),), jitter=False)
    return frames if speed >= 0 else frames[::-1].copy()


def clips_in_order(num_frames: int, rng: np.random.Generator, *, clips: int, length: int, interval: int) -> np.ndarray:
    """Draw the frame numbers of `clips` consecutive clips, int32 (clips, length) (specs/ctp.md 1.6).

    There are `interval` frames between clips, or as many as the video allows; the start is random. If there is not
    one frame for each interval, the clips are those of `uniform_clips` and may overlap.
    """
    gap = min(interval, (num_frames - clips * length) // (clips - 1))
    if gap <= 0:
        return uniform_clips(num_frames, clips=clips, length=length, stride=1)
    step = length + gap
    start = rng.integers(0, num_frames - (clips * step - gap), endpoint=True)
    return (start + step * np.arange(clips)[:, None] + np.arange(length)).astype(np.int32)
