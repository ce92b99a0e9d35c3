"""Store videos without re-encoding: copy their packets into fragments, or leave the files in place."""

import io
import itertools
import zlib
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from dali_pipelines.decode.packets import MAX_PIXELS, demux, set_up, strict_options
from dali_pipelines.decode.rgb import PlaneArrays, RgbConverter, is_full_range
from dali_pipelines.store.convert import orientation
from dali_pipelines.store.encode import MOVFLAGS
from dali_pipelines.store.encoders import open_output
from dali_pipelines.store.files import replacing
from dali_pipelines.store.fmp4 import Fragment, read_layout
from dali_pipelines.store.headers import H264Sps
from dali_pipelines.store.nvdec import MIN_SURFACES, MULTIPLE, is_idr, read_sps
from dali_pipelines.store.pictures import PictureSource
from dali_pipelines.store.place import Place
from dali_pipelines.store.record import Record
from dali_pipelines.store.source import Source, VideoError

UNENCODED = ("copy", "original")
COPIED_CODECS = ("h264", "hevc", "vp9", "av1")
WAY_OUT = "prepare it with --codec h264"
OTHER_MATRICES = {1: "BT.709", 4: "FCC", 7: "SMPTE 240M", 9: "BT.2020"}
"""Matrices of ITU-T H.273 table 4 other than BT.601 (5, 6). Untagged files (2) count as BT.601."""
INT32_MAX = 2**31 - 1


def copy_video(path: Path, source: Place | Path) -> Record:
    """Copy the video packets of `source` into the fragmented MP4 `path`.

    Every fragment of the record decodes independently to exactly the source's pixels; any other (open GOP, non-IDR
    key frame) is joined to the one before it. Frames hidden by an edit list are kept. VideoError for codecs other
    than H.264, HEVC, VP9 and AV1, and for videos that look different without their tags.
    """
    if Place.of(source).is_pictures:
        raise VideoError(f"pictures cannot be copied, --codec original leaves them as they are; or {WAY_OUT}")
    with Source(source, edit_list=False) as video:
        if video.codec not in COPIED_CODECS:
            raise VideoError(f"{video.codec} video cannot be copied, only {', '.join(COPIED_CODECS)}; {WAY_OUT}")
        pictures = _decode_all(video)
        if not pictures.in_order:
            raise VideoError(f"the order of its frames is not in the time stamps of its packets; {WAY_OUT}")
        with replacing(path) as temporary:
            _copy_packets(temporary, source)
            init_size, fragments = read_layout(temporary)
            closed = _closed_fragments(temporary.read_bytes(), init_size, fragments, pictures.checksums)
        return _record(video, pictures, init_size, closed)


def leave_in_place(source: Place | Path) -> Record:
    """Return a record that points to `source` itself.

    A video file is one fragment, so clips decode from its start. Each picture is one.
    """
    place = Place.of(source)
    if place.is_pictures:
        return PictureSource(place).record
    with Source(place) as video:
        pictures = _decode_all(video)
        begin, end = place.span()
        return _record(video, pictures, 0, (Fragment(begin, end - begin, len(pictures.checksums)),), place.location)


class _Pictures(NamedTuple):
    """Facts found by decoding a video.

    Attributes:
        first: the first frame.
        checksums: CRC-32 of each RGB frame.
        in_order: whether timestamps increase.
        interlaced: whether any frame is interlaced.
        last_time: the latest timestamp, in the stream's time base.
    """

    first: VideoFrame
    checksums: list[int]
    in_order: bool
    interlaced: bool
    last_time: int


def _decode_all(video: Source) -> _Pictures:
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
        checksums.append(_checksum(to_rgb(frame)))
        times.append(frame.pts)
    assert first is not None  # Source raises when nothing decodes
    stamped = [time for time in times if time is not None]
    in_order = len(stamped) == len(times) and all(a < b for a, b in itertools.pairwise(stamped))
    return _Pictures(first, checksums, in_order, interlaced, max(stamped, default=0))


def _form(frame: VideoFrame) -> tuple[str, bool]:
    """Return the pixel format, with FFmpeg's older "yuvj" names replaced, and whether the range is full."""
    return frame.format.name.replace("yuvj", "yuv"), is_full_range(frame)


def _record(
    video: Source, pictures: _Pictures, init_size: int, fragments: tuple[Fragment, ...], path: str = ""
) -> Record:
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
        fragments=fragments,
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


def _copy_packets(path: Path, source: Place | Path) -> None:
    with (
        Source(source, edit_list=False) as video,
        open_output(path, "mp4", {"movflags": f"{MOVFLAGS}+negative_cts_offsets"}) as container,
    ):
        stream = container.add_stream_from_template(video.stream, opaque=True)
        packets = [(packet, packet.pts) for packet in demux(video.container, video.stream) if packet.pts is not None]
        for (packet, _), decode_time in zip(packets, _decode_times([shown for _, shown in packets]), strict=True):
            packet.stream, packet.dts = stream, decode_time
            try:
                container.mux(packet)
            except FFmpegError as error:
                raise VideoError(f"cannot be copied ({error.strerror}); {WAY_OUT}") from error


def _decode_times(shown: list[int]) -> list[int]:
    """Return increasing decode times for packets, none later than the packet's presentation time.

    Matroska and WebM have no decode times, and demuxers do not always make them up for the first packets.
    """
    rising = sorted(shown)
    delay = max(early - time for early, time in zip(rising, shown, strict=True))
    return [early - delay for early in rising]


def _closed_fragments(
    data: bytes, init_size: int, fragments: tuple[Fragment, ...], checksums: list[int]
) -> tuple[Fragment, ...]:
    """Join fragments where needed for each to decode independently to its part of `checksums`."""
    closed: list[Fragment] = []
    end = len(checksums)
    tail = 0  # bytes of later fragments that do not decode without this one
    frames = 0
    for fragment in reversed(fragments):
        size, frames = fragment.size + tail, frames + fragment.frames
        chunk = data[:init_size] + data[fragment.offset : fragment.offset + size]
        must_be_idr = fragment is not fragments[0]  # the first is never decoded after another
        if _decode_alone(chunk, must_be_idr) == checksums[max(end - frames, 0) : end]:
            closed.append(Fragment(fragment.offset, size, frames))
            end, tail, frames = end - frames, 0, 0
        else:
            tail = size
    if tail or end:
        raise VideoError(f"its packets do not decode to the same frames when copied; {WAY_OUT}")
    return tuple(reversed(closed))


def _checksum(planes: PlaneArrays) -> int:
    return zlib.crc32(np.stack(planes).data)


def _decode_alone(chunk: bytes, must_be_idr: bool) -> list[int]:
    """Return the frame checksums of a small file; none if it lacks a required IDR picture or does not decode."""
    to_rgb = RgbConverter()
    try:
        with av.open(io.BytesIO(chunk), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            set_up(stream.codec_context)
            stream.codec_context.options = strict_options(stream.codec_context.name)  # as for clips
            packets = container.demux(stream)
            first = next(packets)
            if must_be_idr and not is_idr(stream.codec_context.name, stream.codec_context.extradata, bytes(first)):
                return []
            return [_checksum(to_rgb(frame)) for packet in (first, *packets) for frame in packet.decode()]
    except (FFmpegError, StopIteration):
        return []
