"""Decode the frames of a clip with FFmpeg in one thread: to RGB, or to planes that a GPU converts to RGB."""

from collections.abc import Callable, Collection
from typing import NamedTuple

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from configs.words import counted
from dali_pipelines.decode import packets
from dali_pipelines.decode.rgb import RgbConverter, is_full_range, plane_arrays, rgb_matrix
from dali_pipelines.store.reader import EncodedClip
from dali_pipelines.store.record import ClipError

PLANAR = frozenset({"yuv420p", "yuvj420p"})
"""FFmpeg's names of 8-bit 4:2:0, limited and full range; NVDEC takes nothing else, either."""


def decode_each(clip: EncodedClip, numbers: Collection[int], show: Callable[[int, VideoFrame], None]) -> None:
    """Call `show` with the number and the frame for each of `numbers`, in ascending order.

    Numbers count from the clip's first frame. ClipError if a frame does not decode, or `show` raises ValueError for it.
    """
    missing, reason = set(numbers), "the data ended"
    try:
        for number, frame in enumerate(packets.frames(clip)):
            if clip.size and clip.size != (frame.width, frame.height):
                expected = "x".join(map(str, clip.size))
                raise ValueError(f"frames of {frame.width}x{frame.height}, which should be {expected}")
            if number in missing:
                show(number, frame)
                missing.discard(number)
            if not missing:
                return
    except (FFmpegError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)  # without the number that FFmpeg has for it
    total = counted(len(numbers), "frame")
    raise ClipError(f"{len(numbers) - len(missing)} of {total} of the clip could be decoded: {reason}")


def decode_rgb(clip: EncodedClip) -> NDArray[np.uint8]:
    """Decode the frames of a clip to RGB, in the clip's order: uint8 (T, H, W, 3).

    The matrix is BT.601 whatever the stream's tag says, as in DALI and NVDEC; the range tag is honored. ClipError if a
    wanted frame does not decode, or has another size than the first.
    """
    convert = RgbConverter()
    decoded: list[NDArray[np.uint8]] = []  # empty until the first frame tells the size

    def show(number: int, frame: VideoFrame) -> None:
        planes = convert(frame)
        if not decoded:
            decoded.append(np.empty((len(clip.frames), *planes[0].shape, 3), np.uint8))
        (same,) = np.nonzero(clip.frames == number)
        for channel, plane in enumerate(planes):
            decoded[0][same, ..., channel] = plane

    decode_each(clip, set(clip.frames.tolist()), show)
    return decoded[0]


class Planes(NamedTuple):
    """The T frames of a clip.

    luma: uint8 (T, H, W, 1). chroma: uint8 (T, 2, H/2, W/2), Cb and Cr.
    matrix: float32 (3, 4), from (Y, Cb, Cr, 1) to RGB.
    """

    luma: NDArray[np.uint8]
    chroma: NDArray[np.uint8]
    matrix: NDArray[np.float32]


def decode_planes(clip: EncodedClip) -> Planes:
    """Decode a clip of 8-bit 4:2:0 video with FFmpeg in one thread; its frames must ascend without repeats.

    ClipError if a wanted frame does not decode, or has another size or format than the first.
    """
    places = {number: place for place, number in enumerate(clip.frames.tolist())}
    planes: list[Planes] = []  # empty until the first frame tells the size

    def show(number: int, frame: VideoFrame) -> None:
        if not planes:
            if frame.format.name not in PLANAR or frame.width % 2 or frame.height % 2:
                size = f"{frame.width}x{frame.height}"
                raise ValueError(f"{frame.format.name} frames of {size} are no whole 4:2:0 planes")
            luma = np.empty((len(places), frame.height, frame.width, 1), np.uint8)
            chroma = np.empty((len(places), 2, frame.height // 2, frame.width // 2), np.uint8)
            planes.append(Planes(luma, chroma, rgb_matrix(full_range=is_full_range(frame))))
        place, (luma, chroma, _) = places[number], planes[0]
        for target, plane in zip((luma[place, ..., 0], *chroma[place]), plane_arrays(frame), strict=True):
            target[...] = plane  # ValueError for a frame of another size

    decode_each(clip, places, show)
    return planes[0]
