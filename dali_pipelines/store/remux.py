"""Store a video without re-encoding: copy its packets into fragments."""

from pathlib import Path

import numpy as np
from av.error import FFmpegError

from dali_pipelines.decode import packets
from dali_pipelines.decode.rgb import RgbConverter
from dali_pipelines.store.encode import MOVFLAGS
from dali_pipelines.store.encoders import open_output
from dali_pipelines.store.files import replacing
from dali_pipelines.store.fmp4 import Fragment, decoder_config, read_layout
from dali_pipelines.store.in_place import WAY_OUT, checksum, decode_all, record_of
from dali_pipelines.store.nvdec import CONFIGS, is_idr
from dali_pipelines.store.place import Place
from dali_pipelines.store.reader import EncodedClip
from dali_pipelines.store.record import Record
from dali_pipelines.store.source import Source, VideoError

UNENCODED = ("copy", "original")
COPIED_CODECS = ("h264", "hevc", "vp9", "av1")
HIDDEN = "cut without encoding: the frames that players hide are copied too; --codec h264 drops them"


def copy_video(path: Path, source: Place | Path) -> Record:
    """Copy the video packets of `source` into the fragmented MP4 `path`.

    Every fragment of the record decodes independently to exactly the source's pixels; any other (open GOP, non-IDR
    key frame) is joined to the one before it. Frames hidden by an edit list are kept, with a note. VideoError for
    codecs other than H.264, HEVC, VP9 and AV1, and for videos that look different without their tags.
    """
    if Place.of(source).is_pictures:
        raise VideoError(f"pictures cannot be copied, --codec original leaves them as they are; or {WAY_OUT}")
    with Source(source, edit_list=False) as video:
        if video.codec not in COPIED_CODECS:
            raise VideoError(f"{video.codec} video cannot be copied, only {', '.join(COPIED_CODECS)}; {WAY_OUT}")
        pictures = decode_all(video)
        if not pictures.in_order:
            raise VideoError(f"the order of its frames is not in the time stamps of its packets; {WAY_OUT}")
        if _hides_frames(source):
            video.notes += (HIDDEN,)
        with replacing(path) as temporary:
            _copy_packets(temporary, source)
            init_size, fragments = read_layout(temporary)
            closed = _closed_fragments(temporary.read_bytes(), init_size, fragments, pictures.checksums, video.codec)
            return record_of(video, pictures, init_size, closed)


def _hides_frames(source: Place | Path) -> bool:
    """Tell whether an edit list hides frames, by the header's table of packets: reading them would take longer."""
    with Source(source) as edited, Source(source, edit_list=False) as whole:
        shown = sum(not packet.is_discard for packet in edited.stream.index_entries)
        return shown < len(whole.stream.index_entries)


def _copy_packets(path: Path, source: Place | Path) -> None:
    with (
        Source(source, edit_list=False) as video,
        open_output(path, "mp4", {"movflags": f"{MOVFLAGS}+negative_cts_offsets"}) as container,
    ):
        stream = container.add_stream_from_template(video.stream, opaque=True)
        found = packets.demux(video.container, video.stream)
        stamped = [(packet, packet.pts) for packet in found if packet.pts is not None]
        times = _decode_times([shown for _, shown in stamped])
        for (packet, _), decode_time in zip(stamped, times, strict=True):
            packet.stream, packet.dts = stream, decode_time
            try:
                container.mux(packet)
            except FFmpegError as error:
                raise VideoError(f"cannot be copied ({error.strerror or error}); {WAY_OUT}") from error


def _decode_times(shown: list[int]) -> list[int]:
    """Return increasing decode times for packets, none later than the packet's presentation time.

    Matroska and WebM have no decode times, and demuxers do not always make them up for the first packets.
    """
    rising = sorted(shown)
    delay = max(early - time for early, time in zip(rising, shown, strict=True))
    return [early - delay for early in rising]


def _closed_fragments(
    data: bytes, init_size: int, fragments: tuple[Fragment, ...], checksums: list[int], codec: str
) -> tuple[Fragment, ...]:
    """Join fragments where needed for each to decode independently, as a clip, to its part of `checksums`."""
    closed: list[Fragment] = []
    config = decoder_config(memoryview(data)[:init_size], CONFIGS[codec]) if codec in CONFIGS else None
    end = len(checksums)
    tail = 0  # bytes of later fragments that do not decode without this one
    frames = 0
    for fragment in reversed(fragments):
        size, frames = fragment.size + tail, frames + fragment.frames
        chunk = data[fragment.offset : fragment.offset + size]
        # The first is never decoded after another.
        alone = fragment is fragments[0] or is_idr(codec, config, chunk, frames)
        if alone and _checksums(data[:init_size], chunk, frames) == checksums[max(end - frames, 0) : end]:
            closed.append(Fragment(fragment.offset, size, frames))
            end, tail, frames = end - frames, 0, 0
        else:
            tail = size
    if tail or end:
        raise VideoError(f"its packets do not decode to the same frames when copied; {WAY_OUT}")
    return tuple(reversed(closed))


def _checksums(init: bytes, fragment: bytes, frames: int) -> list[int]:
    """Return the checksums of a fragment's frames; none if it does not decode."""
    data, numbers = np.frombuffer(init + fragment, np.uint8), np.arange(frames, dtype=np.int32)
    to_rgb = RgbConverter()
    try:
        clip = EncodedClip(data, numbers, len(init), [(len(fragment), frames)])
        return [checksum(to_rgb(frame)) for frame in packets.frames(clip)]
    except (FFmpegError, ValueError):
        return []
