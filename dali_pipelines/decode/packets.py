"""Decode the bytes of a clip with FFmpeg, without a demuxer where they are fragments.

To open a container takes FFmpeg a tenth of the time that it takes to decode a short clip, though all clips of a dataset
have the same header. So the header is opened once, its decoder is reused, and the packets are cut out here.
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

HEADERS = 16  # that a process remembers: datasets have a few
MAX_PIXELS = 2**26
"""Of a frame: a damaged header may claim any size, and a decoder makes room before anything decodes."""
LIMITS = {"max_pixels": str(MAX_PIXELS)}
PLAYLISTS = frozenset({"concat", "dash", "hls", "imf", "sdp"})
"""FFmpeg's formats of texts that name other files or addresses, whatever their own name: it would open those."""
NO_PLAYLISTS = {"format_whitelist": ",".join(sorted(av.formats_available - PLAYLISTS))}


def frames(clip: EncodedClip) -> Iterator[VideoFrame]:
    """Yield the frames of a clip, in the order of presentation, decoded in one thread.

    Raises:
        ValueError: there is no video, or the fragments are not whole.
        FFmpegError: it does not decode.
    """
    try:
        yield from _frames(clip)
    except Exception as error:
        _decoder.cache_clear()  # the next clip must not see what this one left
        _picture_decoder.cache_clear()
        if isinstance(error, FFmpegError | MemoryError | ValueError):
            raise
        # Of damage: PyAV promises FFmpegError, and raises others.
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
        packet.is_keyframe = True  # else FFmpeg adds each PNG to the one before
        yield from decoder.decode(packet)


def _packet(picture: memoryview) -> "Packet[Stream]":
    return Packet(picture)  # type: ignore[arg-type]  # the stubs know no other buffers than bytes


@lru_cache(maxsize=HEADERS)
def _picture_decoder(codec: str) -> VideoCodecContext:
    decoder = CodecContext.create(codec, "r")
    assert isinstance(decoder, VideoCodecContext)
    decoder.thread_count = 1
    decoder.options = LIMITS | {"err_detect": "explode+crccheck"}  # else half a JPEG is filled up with gray
    return decoder


@lru_cache(maxsize=HEADERS)
def _decoder(init: bytes) -> VideoCodecContext:
    # There are no frames to probe, and nothing that they would tell is needed to decode.
    container = av.open(io.BytesIO(init), format="mp4", options={"probesize": "32"}, metadata_errors="replace")
    decoder: VideoCodecContext = _video_stream(container).codec_context
    decoder.options = strict_options(decoder.name)
    return decoder


def strict_options(codec: str) -> dict[str, str]:
    """Return the options by which fragments are decoded: to the frames that they hold, or to an error."""
    # Else a damaged part is filled up from whatever this decoder showed before.
    options = LIMITS | {"err_detect": "explode"}
    # A stream of H.264 need not say how far its frames are out of order: then wait as long as the standard allows.
    return options | {"strict": "1"} if codec == "h264" else options


def _video_stream(container: InputContainer) -> VideoStream:
    """Return the video stream, to be decoded in one thread: the caller has one process a core."""
    stream = container.streams.best("video")
    if not isinstance(stream, VideoStream) or stream.codec_context is None:
        raise ValueError("there is no video stream of a known codec")
    set_up(stream.codec_context)
    stream.codec_context.options = LIMITS
    return stream


def set_up(decoder: VideoCodecContext) -> None:
    """Have a decoder take one thread, and leave out of a picture all that its header crops."""
    decoder.thread_count = 1
    decoder.flags |= Flags.unaligned  # else up to 63 columns at the left stay, for the sake of aligned memory


def decoded(container: InputContainer, stream: VideoStream) -> Iterator[VideoFrame]:
    """Yield the frames of a stream, in the order of presentation."""
    for packet in demux(container, stream):
        yield from packet.decode()


def demux(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream]]":
    """Yield the packets of a stream, and an empty one at the end, by which the decoder gives out its last frames."""
    try:
        yield from container.demux(stream)
    except IndexError:
        # PyAV's, for streams that appear late, such as the sound of a live recording: it flushes all in order, but
        # knows only those of the header. Ours has been flushed by then.
        return
