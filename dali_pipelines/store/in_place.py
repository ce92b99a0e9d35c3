"""Leave a video where it is: decode it to the end to learn what it is, and point to its file."""

import itertools
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from av.video.frame import VideoFrame

from dali_pipelines.decode.packets import MAX_PIXELS
from dali_pipelines.decode.rgb import PlaneArrays, RgbConverter, is_full_range
from dali_pipelines.store.convert import orientation
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.headers import H264Sps
from dali_pipelines.store.nvdec import MIN_SURFACES, MULTIPLE, read_sps
from dali_pipelines.store.pictures import PictureSource
from dali_pipelines.store.place import Place
from dali_pipelines.store.record import Record
from dali_pipelines.store.source import Source, VideoError
from dali_pipelines.store.units import PackedFragments

WAY_OUT = "prepare it with --codec h264"
OTHER_MATRICES = {1: "BT.709", 4: "FCC", 7: "SMPTE 240M", 9: "BT.2020"}
"""Matrices of ITU-T H.273 table 4 other than BT.601 (5, 6). Untagged files (2) count as BT.601."""
INT32_MAX = 2**31 - 1


def leave_in_place(source: Place | Path) -> Record:
    """Return a record that points to `source` itself.

    A video file is one fragment, so clips decode from its start. Each picture is one.
    """
    place = Place.of(source)
    if place.is_pictures:
        return PictureSource(place).record
    with Source(place) as video:
        pictures = decode_all(video)
        begin, end = place.span()
        return record_of(video, pictures, 0, (Fragment(begin, end - begin, len(pictures.checksums)),), place.location)


class Pictures(NamedTuple):
    """Facts found by decoding a video: its first frame, and the CRC-32 of each RGB frame.

    Also whether time stamps increase, whether any frame is interlaced, and the latest time stamp, in the stream's time
    base.
    """

    first: VideoFrame
    checksums: list[int]
    in_order: bool
    interlaced: bool
    last_time: int


def decode_all(video: Source) -> Pictures:
    """Decode to the end; VideoError if decoders that ignore the tags would show the video wrong."""
    to_rgb = RgbConverter()
    first, checksums, times, interlaced = None, [], [], False
    for frame in video.frames():
        first = first or frame
        interlaced = interlaced or bool(frame.interlaced_frame)
        if orientation(frame) or video.crop:
            how = "crop" if video.crop else "turn or mirror"
            raise VideoError(f"has a tag by which players {how} it, which GPU decoders ignore; {WAY_OUT}")
        if (frame.width, frame.height) != (first.width, first.height):
            raise VideoError(f"its pictures change size midway; {WAY_OUT}")
        if _form(frame) != _form(first):  # GPU decoders and clips of planes take it from the first frame
            raise VideoError(f"its pictures change pixel format or range midway; {WAY_OUT}")
        if frame.width * frame.height > MAX_PIXELS:
            size = f"{frame.width}x{frame.height}"
            raise VideoError(f"has pictures of {size} pixels, {MAX_PIXELS} are the most of a clip; {WAY_OUT}")
        checksums.append(checksum(to_rgb(frame)))
        times.append(frame.pts)
    assert first is not None  # Source raises when nothing decodes
    stamped = [time for time in times if time is not None]
    in_order = len(stamped) == len(times) and all(a < b for a, b in itertools.pairwise(stamped))
    return Pictures(first, checksums, in_order, interlaced, max(stamped, default=0))


def _form(frame: VideoFrame) -> tuple[str, bool]:
    """Return the pixel format, with FFmpeg's older "yuvj" names replaced, and whether the range is full."""
    return frame.format.name.replace("yuvj", "yuv"), is_full_range(frame)


def record_of(
    video: Source, pictures: Pictures, init_size: int, fragments: tuple[Fragment, ...], path: str = ""
) -> Record:
    """Return the record of a video whose packets are in a file of the store, or in the file at `path`."""
    first = pictures.first
    notes: dict[str, object] = {
        f"with sides that are no multiples of {MULTIPLE}: no GPU decoder is used": first.width % MULTIPLE
        or first.height % MULTIPLE,
        "with pixels that are not square, but shown as if square": video.pixel_aspect != 1,
    }
    if matrix := OTHER_MATRICES.get(int(first.colorspace)):
        notes[f"tagged {matrix} but decoded as BT.601: colors shift a little"] = True
    # On a GPU, DALI returns a frame for each decoded picture, in the order of 32-bit timestamps.
    pitfalls = {
        "interlaced frames": pictures.interlaced,
        f"hidden frames ({video.codec.upper()})": video.codec in ("vp8", "vp9"),
        "time stamps out of order": not pictures.in_order,
        "a single decode surface": _single_surface(video, read_as_clips=not path),
        "time stamps past 32 bits": bool(path) and pictures.last_time > INT32_MAX,
    }
    software_only = ", ".join(pitfall for pitfall, holds in pitfalls.items() if holds)
    return Record(
        num_frames=sum(fragment.frames for fragment in fragments),
        width=first.width,
        height=first.height,
        fps=float(video.fps),
        codec=video.codec,
        pix_fmt=first.format.name,
        init_size=init_size,
        fragments=PackedFragments.of(fragments),
        container="file" if path else "mp4",
        source=path,
        notes=(*video.notes, *(note for note, holds in notes.items() if holds)),
        software_only=software_only,
    )


def _single_surface(video: Source, *, read_as_clips: bool) -> bool:
    """Tell whether a hardware decoder allocates only one surface; `mp4` patches clips of fragments if it can."""
    if video.codec not in ("h264", "hevc"):
        return False
    try:
        sets = read_sps(video.codec, video.stream.codec_context.extradata or b"")
    except (ValueError, IndexError):  # an unreadable header
        return True
    if read_as_clips:
        sets = [sps for sps in sets if not (isinstance(sps, H264Sps) and sps.intra_only)]
    return any(sps.surfaces < MIN_SURFACES for sps in sets)


def checksum(planes: PlaneArrays) -> int:
    """Return the CRC-32 of the planes of a frame."""
    return zlib.crc32(np.stack(planes).data)
