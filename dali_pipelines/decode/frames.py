"""The frames of a clip, decoded by FFmpeg in one thread."""

from collections.abc import Callable, Collection

import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from dali_pipelines.decode import packets
from dali_pipelines.decode.rgb import RgbConverter
from dali_pipelines.store.reader import EncodedClip
from dali_pipelines.store.record import ClipError


def decode_each(clip: EncodedClip, numbers: Collection[int], show: Callable[[int, VideoFrame], None]) -> None:
    """Call `show` with each frame of a clip that is named, and its number, in rising order.

    Args:
        numbers: counted from the clip's first frame.
        show: may raise ValueError for a frame that it cannot use.

    Raises:
        ClipError: a frame does not decode, or `show` cannot use it.
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
        reason = str(error)
    raise ClipError(f"{len(numbers) - len(missing)} of {len(numbers)} frames of the clip decode: {reason}")


def decode_rgb(clip: EncodedClip) -> NDArray[np.uint8]:
    """Decode the frames of a clip, in its order, to RGB: uint8 (T, H, W, 3).

    The matrix is BT.601 whatever the stream's tag says, as in DALI and NVDEC; the range tag is honored.

    Raises:
        ClipError: a wanted frame does not decode, or has another size than the first.
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
