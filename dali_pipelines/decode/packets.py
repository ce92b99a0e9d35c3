"""Decode the bytes of a clip with FFmpeg; if they are fragments, without a demuxer.

Opening a container takes FFmpeg a tenth of the time of decoding a short clip, though all clips of a dataset have the
same header. So the header is opened once, its decoder is reused, and the packets are cut out here.
"""

import io
from collections.abc import Iterator
from functools import lru_cache

import av
from av.codec.context import CodecContext, Flags
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from dali_pipelines.store.fmp4 import samples
from dali_pipelines.store.reader import EncodedClip

HEADERS = 16  # cached per process: datasets have a few
MAX_PIXELS = 2**26
"""Limit per frame: a damaged header may claim any size, and decoders allocate memory before they decode."""
LIMITS = {"max_pixels": str(MAX_PIXELS)}
PLAYLISTS = frozenset({"concat", "dash", "hls", "imf", "sdp"})
"""FFmpeg's formats of texts that refer to other files or addresses, which it would open; suffixes do not matter."""
NO_PLAYLISTS = {"format_whitelist": ",".join(sorted(av.formats_available - PLAYLISTS))}


def frames(clip: EncodedClip) -> Iterator[VideoFrame]:
    """Yield the frames of a clip in presentation order, decoded in one thread.

    ValueError if there is no video, or the fragments are incomplete; FFmpegError if it does not decode.
    """
    try:
        yield from _frames(clip)
    except Exception as error:
        _decoder.cache_clear()  # the next clip must not see state of this one
        _picture_decoder.cache_clear()
        if isinstance(error, FFmpegError | MemoryError | ValueError):
            raise
        # PyAV promises FFmpegError, but damaged data raises others, too.
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _frames(clip: EncodedClip) -> Iterator[VideoFrame]:
    if clip.codec:
        yield from _pictures(clip)
        return
    if not clip.init_size:
        with av.open(io.BytesIO(clip.data.data), options=NO_PLAYLISTS, metadata_errors="replace") as container:
            yield from decoded(container, _video_stream(container))
        return
    decoder = _decoder(bytes(clip.data[: clip.init_size]))
    if decoder.is_open:
        decoder.flush_buffers()  # left by a caller that did not take all frames
    for fragment, count in clip.units():
        for picture in samples(fragment, count):
            yield from decoder.decode(_packet(picture))
    yield from decoder.decode(None)


def _pictures(clip: EncodedClip) -> Iterator[VideoFrame]:
    decoder = _picture_decoder(clip.codec)
    for picture, _ in clip.units():
        packet = _packet(picture)
        packet.is_keyframe = True  # else FFmpeg adds each PNG to the previous one
        yield from decoder.decode(packet)


def _packet(picture: memoryview) -> "Packet[Stream]":
    """Copy a picture's bytes to a packet, which ends in FFmpeg's padding of zeros: decoders read past the last byte."""
    packet: Packet[Stream] = Packet(len(picture))
    packet.update(picture)  # type: ignore[arg-type]  # the stubs accept only bytes
    return packet


@lru_cache(maxsize=HEADERS)
def _picture_decoder(codec: str) -> VideoCodecContext:
    decoder = CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    decoder.options = LIMITS | {"err_detect": "explode+crccheck"}  # else the missing half of a JPEG becomes gray
    return decoder


@lru_cache(maxsize=HEADERS)
def _decoder(init: bytes) -> VideoCodecContext:
    # There are no frames to probe, and decoding needs nothing that a probe would find.
    container = av.open(io.BytesIO(init), format="mp4", options={"probesize": "32"}, metadata_errors="replace")
    decoder: VideoCodecContext = _video_stream(container).codec_context
    # Else a damaged part is filled in from earlier frames of this decoder.
    decoder.options = LIMITS | {"err_detect": "explode"}
    if decoder.name == "h264":  # need not declare how far frames are reordered: wait as long as the standard allows
        decoder.options |= {"strict": "1"}
    return decoder


def _video_stream(container: InputContainer) -> VideoStream:
    """Return the video stream, set to decode in one thread: the caller has one process per core."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.codec_context is None:
        raise ValueError("there is no video stream of a known codec")
    set_up(stream.codec_context)
    stream.codec_context.options = LIMITS
    return stream


def set_up(decoder: VideoCodecContext) -> None:
    """Make a decoder use one thread, and crop pictures exactly as the header says."""
    decoder.thread_count = 1
    decoder.flags |= Flags.unaligned  # else up to 63 columns at the left are not cropped, to keep memory aligned


def decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Yield the frames of a stream in presentation order."""
    for packet in demux(container, stream):
        yield from packet.decode()


def demux(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Yield the packets of a stream, and one without data at the end, which flushes the decoder.

    A packet of no bytes, by which Theora and others repeat a frame, is passed over: decoders refuse it.
    """
    try:
        yield from (packet for packet in container.demux(stream) if packet.size or not packet.buffer_ptr)
    except IndexError:
        # PyAV flushes all streams in order, but knows only those of the header and fails at one that appears late,
        # such as the sound of a live recording. Ours has been flushed by then.
        return
