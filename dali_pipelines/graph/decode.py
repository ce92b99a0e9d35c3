"""From a clip's encoded bytes to its frames."""

import ctypes
from functools import cache

from nvidia.dali import fn
from nvidia.dali.data_node import DataNode

# What DALI 2.4 decodes; NVDEC takes 8-bit 4:2:0 only, and none before Blackwell's has AV1 (H100 and H200 do not).
CPU_CODECS = frozenset({"vp8", "vp9"})  # and MJPEG, which PyAV decodes in less time: it cuts before it makes RGB
GPU_CODECS = frozenset({"h264", "hevc", "vp8", "vp9"})
GPU_PIXELS = frozenset({"yuv420p", "yuvj420p"})


@cache
def has_nvdec() -> bool:
    """Whether the driver's decoder library is there; a container without the video capability lacks it."""
    try:
        ctypes.CDLL("libnvcuvid.so.1")
    except OSError:
        return False
    return True


def dali_decodes(codec: str, pix_fmt: str, *, gpu: bool) -> bool:
    """Whether DALI decodes such a video on that backend; PyAV does otherwise."""
    return codec in GPU_CODECS and pix_fmt in GPU_PIXELS and has_nvdec() if gpu else codec in CPU_CODECS


def decode(encoded: DataNode, frames: DataNode, *, gpu: bool) -> DataNode:
    """Decodes the named frames of a buffer.

    Args:
        encoded: uint8 (bytes,) on the CPU: a whole video file, or the fragments that hold the frames.
        frames: int32 (T,), counted from the buffer's first frame, any order, repeats allowed.

    Returns:
        uint8 (T, H, W, 3) RGB. A frame that is not there fails the whole batch: DALI's default would be black.
    """
    return fn.decoders.video(encoded, device="mixed" if gpu else "cpu", frames=frames, pad_mode="none")
