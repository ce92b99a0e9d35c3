"""Decode a source video to its end: what it is, how many frames it really has, or why it cannot be used."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError, InvalidDataError
from av.video.frame import VideoFrame

from dali_pipelines.store.place import Place
from dali_pipelines.store.ranged import open_ranged
from dali_pipelines.store.storage import is_url

MOST_MISSING = 0.1  # share of the frames that may be missing or damaged
DEFAULT_FPS = Fraction(25)


class VideoError(Exception):
    """A source cannot be stored; the message is the one-line reason."""


class Source:
    """An opened source video, for a `with` block; VideoError for everything that is wrong with it.

    Args:
        source: a file, at any place.
        edit_list: False shows the frames that an MP4 holds but hides from players (a trimmed start).
    """

    def __init__(self, source: Place | Path | str, *, edit_list: bool = True) -> None:
        self.place = place = Place.of(source)
        if place.fault:
            raise VideoError(place.fault)
        options = {} if edit_list else {"ignore_editlist": "1"}
        try:
            whole = place.parts is None and not is_url(place.location)
            file = place.location if whole else open_ranged(place.location, place.span())
            self.container = av.open(file, options=options)
        except InvalidDataError as error:
            raise VideoError("not a video file, or its header is damaged") from error
        except (FFmpegError, OSError) as error:
            raise VideoError(f"cannot be opened: {error.strerror}") from error
        stream = self.container.streams.best("video")
        if stream is None:
            self.container.close()
            raise VideoError("has no video stream")
        self.stream = stream
        if stream.codec_context is None:
            self.container.close()
            raise VideoError("its codec is unknown")
        self.codec: str = stream.codec_context.codec.canonical_name
        self.fps = Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
        stream.codec_context.thread_count = 1

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *error: object) -> None:
        self.container.close()

    def frames(self) -> Iterator[VideoFrame]:
        """Decode all frames in presentation order; VideoError at the first that fails, or when too few came."""
        count = damaged = 0
        seconds = 0.0
        try:
            for frame in self.container.decode(self.stream):
                yield frame
                count += 1
                damaged += frame.is_corrupt
                seconds = max(seconds, frame.time or 0.0)
        except FFmpegError as error:
            raise VideoError(f"decode error after {count} frames: {error.strerror}") from error
        if count == 0:
            raise VideoError("nothing decodes")
        if damaged > count * MOST_MISSING:
            raise VideoError(f"{damaged} of {count} frames are damaged")
        expected = self.stream.frames
        if count < expected * (1 - MOST_MISSING) and not self._trimmed():
            raise VideoError(f"truncated: the header says {expected} frames, {count} decode")
        if not expected and seconds < self._expected_seconds() * (1 - MOST_MISSING):
            raise VideoError(f"truncated: the header says {self._expected_seconds():.1f} s, {seconds:.1f} s decode")
        if count == 1:
            raise VideoError("has only one frame, a clip needs motion")

    def _expected_seconds(self) -> float:
        """Return when the last frame starts by the header, 0 when unknown. WebM and Matroska tell no frame count."""
        duration = self.container.duration
        if duration is None or len(self.container.streams) > 1:  # the sound may last longer
            return 0.0
        return float((duration + (self.container.start_time or 0)) / av.time_base) - 1 / float(self.fps)

    def _trimmed(self) -> bool:
        """Tell whether the missing frames are in the file and only hidden by its edit list."""
        with Source(self.place, edit_list=False) as whole:
            packets = sum(packet.size > 0 for packet in whole.container.demux(whole.stream))
        return bool(packets >= self.stream.frames * (1 - MOST_MISSING))
