"""Ask the NVIDIA driver about the GPU's video decoders (NVDEC)."""

import ctypes
from functools import cache

import torch

NUMBERS = {"mpeg4": 2, "h264": 4, "jpeg": 5, "hevc": 8, "vp8": 9, "vp9": 10, "av1": 11}  # cudaVideoCodec
CHROMA_420 = 1
LIBRARY = "libnvcuvid.so.1"
FEW_ENGINES = 4  # if the driver does not say; an L4 has 4, A100 5, H100 and H200 7


@cache
def has_nvdec() -> bool:
    """Tell whether the driver's decoder library is there; a container without the video capability lacks it."""
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


@cache
def engines() -> int:
    """Return the number of H.264 decoders of the current GPU, FEW_ENGINES if the driver does not say."""
    try:
        return decoders().get("h264") or FEW_ENGINES
    except (OSError, AttributeError, RuntimeError):
        return FEW_ENGINES


class Caps(ctypes.Structure):
    """CUVIDDECODECAPS of the Video Codec SDK 12 and 13."""

    _fields_ = (
        ("codec", ctypes.c_int),
        ("chroma", ctypes.c_int),
        ("bit_depth_minus_8", ctypes.c_uint),
        ("reserved1", ctypes.c_uint * 3),
        ("supported", ctypes.c_ubyte),
        ("engines", ctypes.c_ubyte),
        ("output_formats", ctypes.c_ushort),
        ("max_width", ctypes.c_uint),
        ("max_height", ctypes.c_uint),
        ("max_macroblocks", ctypes.c_uint),
        ("min_width", ctypes.c_ushort),
        ("min_height", ctypes.c_ushort),
        ("histogram", ctypes.c_ubyte * 4),
        ("reserved3", ctypes.c_uint * 10),
        ("spare", ctypes.c_uint * 64),  # for a driver whose struct has grown
    )


def decoders() -> dict[str, int]:
    """Return the number of the current GPU's engines for each codec that it decodes as 8-bit 4:2:0.

    OSError if the driver's library is missing; RuntimeError if there is no GPU that torch can use.
    """
    torch.zeros(1, device="cuda")  # the query needs a CUDA context
    ask = ctypes.CDLL(LIBRARY).cuvidGetDecoderCaps
    found = {}
    for name, number in NUMBERS.items():
        caps = Caps(codec=number, chroma=CHROMA_420)
        ask(ctypes.byref(caps))
        if caps.supported:
            found[name] = caps.engines
    return found
