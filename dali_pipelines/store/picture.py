"""Read the header of a picture in memory, check that it is whole, and find the pixel format that it decodes to."""

import io
import math
from typing import NamedTuple

import numpy as np
from av.error import FFmpegError
from PIL import Image

from dali_pipelines.decode import packets
from dali_pipelines.store.reader import EncodedClip
from dali_pipelines.store.source import VideoError

CODECS = {"JPEG": "mjpeg", "MPO": "mjpeg", "PNG": "png"}
"""Pillow's format -> FFmpeg's codec. An MPO is a JPEG followed by others, which are ignored."""
ORIENTATION = 0x0112
UPRIGHT = 1
_END = {"mjpeg": (b"\xff\xd9", b"\xff\xda"), "png": (b"IEND", b"IDAT")}
"""Codec -> end marker of a complete file, and marker of the scans or pixel chunks that precede it."""


class Header(NamedTuple):
    """A picture's properties, known without decoding it. `layers`: component sampling of a JPEG."""

    codec: str
    size: tuple[int, int]
    mode: str
    layers: tuple[tuple[int, ...], ...]
    progressive: bool
    orientation: int


def read_header(data: bytes, what: str) -> Header:
    """Read a picture's header and check for its end marker; VideoErrors begin with `what`."""
    if not data:
        raise VideoError(f"{what} is empty")
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG")) as image:
            codec = CODECS[str(image.format)]
            layers = tuple(map(tuple, getattr(image, "layer", ())))
            progressive, orientation = "progressive" in image.info, image.getexif().get(ORIENTATION, UPRIGHT)
            header = Header(codec, image.size, image.mode, layers, progressive, orientation)
    except Exception as error:  # damaged files raise more than the OSError that Pillow documents
        raise VideoError(f"{what} does not decode: it is no JPEG or PNG, or its header is damaged") from error
    if math.prod(header.size) > packets.MAX_PIXELS:  # a decoder allocates them before it reads on
        raise VideoError(f"{what} claims {header.size[0]}x{header.size[1]} pixels, {packets.MAX_PIXELS} are the most")
    end, last = _END[codec]
    if data.rfind(end) <= data.rfind(last):
        raise VideoError(f"{what} does not decode: it is cut off")
    return header


def pix_fmt_of(data: bytes, codec: str, what: str) -> str:
    """Return the pixel format that FFmpeg decodes a picture to; VideoError, beginning with `what`, if it fails."""
    clip = EncodedClip(np.frombuffer(data, np.uint8), np.zeros(1, np.int32), fragments=[(len(data), 1)], codec=codec)
    try:
        return next(packets.frames(clip)).format.name
    except (FFmpegError, StopIteration) as error:
        raise VideoError(f"{what} does not decode: {reason_of(error)}") from error


def reason_of(error: Exception) -> str:
    """Say why FFmpeg decodes no picture."""
    return getattr(error, "strerror", None) or str(error) or "there is no picture in it"
