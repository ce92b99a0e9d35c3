"""Decode a source video to its end to find what it is, its true frame count, or why it is unusable."""

import errno
import math
import os
import re
import stat
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.container import InputContainer
from av.error import ArgumentError, FFmpegError, InvalidDataError
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from configs.words import counted
from dali_pipelines.decode.packets import NO_PLAYLISTS, decoded, set_up
from dali_pipelines.store.convert import Converter
from dali_pipelines.store.place import Place
from dali_pipelines.store.storage import is_url, open_ranged
from dali_pipelines.store.truncation import missing_share

MAX_MISSING = 0.1  # share of the frames that may be missing or damaged
UNKNOWN_MATRICES = (8, *range(10, 256))  # numbers of ITU-T H.273 table 4 that FFmpeg's scaler refuses
MAX_ASPECT = 4  # width over height of a pixel, or height over width
MAX_RATE_FACTOR = 2  # limit of the average rate, as a multiple of the highest other stated rate
DEFAULT_FPS = Fraction(25)


class VideoError(Exception):
    """A source cannot be stored; the message is the one-line reason."""


class Source:
    """An open source video, for a `with` block; VideoError for any fault.

    Without `edit_list`, frames that an MP4 hides from players (a trimmed start) are decoded too.
    """

    def __init__(self, source: Place | Path | str, *, edit_list: bool = True) -> None:
        self.place = place = Place.of(source)
        if place.fault:
            raise VideoError(place.fault)
        options = NO_PLAYLISTS | ({} if edit_list else {"ignore_editlist": "1"})
        try:
            whole = place.parts is None and not is_url(place.location)
            if whole:
                status = os.stat(place.location)
                if not stat.S_ISREG(status.st_mode):  # a pipe, a device or a kernel file may never end or answer
                    raise VideoError("is no regular file")
                if not status.st_size:
                    raise VideoError("is empty")
            file = place.location if whole else open_ranged(place.location, place.span())
            self.container = av.open(file, options=options, metadata_errors="replace")  # tags need not be UTF-8
        except (InvalidDataError, EOFError) as error:
            raise VideoError("not a video file, or its header is damaged") from error
        except ArgumentError as error:
            raise VideoError("is a playlist, which names other files, or its header is damaged") from error
        except (FFmpegError, OSError) as error:
            if error.errno == errno.EIO and _can_be_read(place):
                raise VideoError("not a video file, or its header is damaged") from None
            raise VideoError(f"cannot be opened: {error.strerror or error}") from error
        stream = self.container.streams.best("video")
        if stream is None or stream.codec_context is None:
            self.container.close()
            raise VideoError("has no video stream" if stream is None else "its codec is unknown")
        if stream.disposition & Disposition.attached_pic:  # FFmpeg takes one only if there is no other stream
            self.container.close()
            raise VideoError("has no video, only a cover picture, as files of sound do")
        self.stream = stream
        self.codec: str = stream.codec_context.codec.canonical_name
        self.fps = _rate(stream)
        stated = stream.sample_aspect_ratio
        self.pixel_aspect = stated if stated and Fraction(1, MAX_ASPECT) <= stated <= MAX_ASPECT else Fraction(1)
        self.crop = _crop(self.container, stream)
        shown = [video for video in self.container.streams.video if not video.disposition & Disposition.attached_pic]
        self.notes = ("with several video streams: the one that FFmpeg calls the best is shown",) * (len(shown) > 1)
        set_up(stream.codec_context)

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *error: object) -> None:
        self.container.close()

    def frames(self) -> Iterator[VideoFrame]:
        """Decode all frames in presentation order; VideoError at the first failure, or for too few frames."""
        count = damaged = 0
        begin, end = math.inf, 0.0
        crop = Converter(("crop", self.crop)) if self.crop else None
        try:
            for frame in decoded(self.container, self.stream):
                if int(frame.colorspace) in UNKNOWN_MATRICES:
                    number = int(frame.colorspace)
                    raise VideoError(f"has a color matrix (number {number} of H.273) that FFmpeg does not convert")
                yield crop(frame) if crop else frame
                count += 1
                damaged += frame.is_corrupt
                time = frame.time or 0.0
                begin, end = min(begin, time), max(end, time + float(frame.duration * (frame.time_base or 0)))
        except FFmpegError as error:
            if self._is_encrypted():
                raise VideoError("is encrypted") from error
            if self._is_animated_webp():
                raise VideoError("is an animated WebP, which FFmpeg does not decode: convert it to GIF") from error
            doubt = f" (is it {self.codec} at all, as its header says?)" if count == 0 else ""
            # Some decoders report damage as "Operation not permitted", or as "Cannot allocate memory" for a size that
            # it claims. Neither says anything about read permission or free memory.
            of_data = isinstance(error, PermissionError | MemoryError)
            cause = None if of_data or (error.errno == errno.EIO and _can_be_read(self.place)) else error
            raise VideoError(f"decode error after {counted(count, 'frame')}: {error.strerror}{doubt}") from cause
        except OSError as error:  # from an archive or a URL
            why = error.strerror or error
            raise VideoError(f"cannot be read after {counted(count, 'frame')}: {why}") from error
        if count == 0:
            raise VideoError("nothing decodes")
        if damaged > count * MAX_MISSING:
            raise VideoError(f"{damaged} of {counted(count, 'frame')} damaged")
        if self._is_truncated(short := self._shortfall(count, begin, end)):
            raise VideoError(f"truncated: {short or 'its end is missing'}")
        if count == 1:
            raise VideoError("has only one frame, a clip needs motion")

    def _shortfall(self, count: int, begin: float, end: float) -> str | None:
        """Describe what the header announces but is missing: "" for at most a tenth, None if it announces nothing.

        `count` frames decode; they last from `begin` to `end`, in seconds. AVI and MP4 announce frames. Others announce
        a duration; the stream's own (Matroska's tag) is preferred to the file's, which may be that of the audio.
        """
        if announced := self.stream.frames:
            is_short = count < announced * (1 - MAX_MISSING)
            return f"the header says {counted(announced, 'frame')}, {count} decoded" if is_short else ""
        matroska = "matroska" in self.container.format.name
        seconds = _seconds(self.stream.metadata.get("DURATION", "")) if matroska else 0.0
        if not seconds and self.container.duration and len(self.container.streams) == 1:
            seconds = self.container.duration / av.time_base
        if not seconds:
            return None
        # Matroska states the end time, others the length, also of what comes before the first key frame.
        start = begin if self.stream.start_time is None else float(self.stream.start_time * self.stream.time_base)
        lasts = end if matroska else end - min(begin, start)
        is_short = lasts < seconds * (1 - MAX_MISSING)
        return f"the header says {seconds:.1f} s, {lasts:.1f} s decoded" if is_short else ""

    def _is_truncated(self, shortfall: str | None) -> bool:
        """Tell whether the end of the file is missing.

        It is if more than a tenth of what the header announces does not decode, and more than a tenth of the bytes in
        the file's outermost structure are missing (`truncation.missing_share`). An announcement alone proves nothing:
        AVI counts dropped frames, and 2**30 frames when written to a pipe; Matroska, FLV and others count how long the
        last frame is shown; edit lists hide frames. Missing bytes alone prove nothing either, if all that was announced
        decodes. If the format states no bytes (MPEG-TS, raw streams), the announcement decides; if nothing is
        announced, the bytes do.
        """
        if shortfall == "":
            return False
        try:
            with open_ranged(self.place.location, self.place.span()) as file:
                missing = missing_share(file)
        except OSError as error:
            raise VideoError(f"its end cannot be read: {error.strerror or error}") from error
        return shortfall is not None if missing is None else missing > MAX_MISSING

    def _is_encrypted(self) -> bool:
        try:
            with Source(self.place) as again:
                return any(packet.has_sidedata("encryption_info") for packet in islice(again.container.demux(), 9))
        except (FFmpegError, OSError):  # the container is damaged, so it was not the decoder that failed
            return False

    def _is_animated_webp(self) -> bool:
        """Tell whether the header has WebP's flag of an animation (RFC 9649, 2.7)."""
        if self.codec != "webp":
            return False
        with open_ranged(self.place.location, self.place.span()) as file:
            header = file.read(21)
        return header[12:16] == b"VP8X" and bool(header[20] & 2)


def _can_be_read(place: Place) -> bool:
    """Tell whether the disk gives all of a file: FFmpeg also calls a Matroska file that is cut off an I/O error."""
    try:
        with open_ranged(place.location, place.span()) as file:
            while file.read(1 << 20):
                pass
    except OSError:
        return False
    return True


def _crop(container: InputContainer, stream: VideoStream) -> str:
    """Return crop-filter options for what players cut off (MP4's `clap`, Matroska's PixelCrop), "" for nothing.

    PyAV shows a stream's side data only in its description, and only if FFmpeg may log it.
    """
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        streams = container.dumps_format().split("\n  Stream #0:")[1:]  # type: ignore[attr-defined]
    finally:
        av.logging.set_level(level)
    of_stream = next((text for text in streams if re.match(rf"{stream.index}\b", text)), "")
    match = re.search(r"^ +Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)$", of_stream, re.MULTILINE)
    if not match or not any(map(int, match.groups())):
        return ""
    left, right, top, bottom = match.groups()
    return f"iw-{left}-{right}:ih-{top}-{bottom}:{left}:{top}:exact=1"


def _rate(stream: VideoStream) -> Fraction:
    """Return frames per second: the average, if plausible.

    FFmpeg may count every tick as a frame: it gets 60,000 for raw DV at 25, and 600 for an AVI with as many ticks.
    """
    told = [Fraction(rate) for rate in (stream.guessed_rate, stream.codec_context.framerate) if rate]
    average = Fraction(stream.average_rate or 0)
    if told and average > MAX_RATE_FACTOR * max(told):
        return told[0]
    return average or (told[0] if stream.guessed_rate else DEFAULT_FPS)


def _seconds(text: str) -> float:
    """Parse a duration such as 00:01:02.5 to seconds; 0 for any other text."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text.strip("\0 "))
    return float(match[1]) * 3600 + float(match[2]) * 60 + float(match[3]) if match else 0.0
