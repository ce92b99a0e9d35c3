"""Decode a source video to its end: what it is, how many frames it really has, or why it cannot be used."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.error import FFmpegError, InvalidDataError
from av.video.frame import VideoFrame

MOST_MISSING = 0.1  # share of the frames that may be missing or damaged
DEFAULT_FPS = Fraction(25)
PICTURE = re.compile(r"(?P<prefix>(?!\.).*?)(?P<number>[0-9]*)(?P<suffix>\.(?:jpg|jpeg|png))", re.IGNORECASE)


class VideoError(Exception):
    """A source cannot be stored; the message is the one-line reason."""


@dataclass(frozen=True)
class Pictures:
    """A folder of JPEG or PNG files that are numbered without a gap, from any number on: the frames of a video.

    The numbers have at least `width` digits: 4 in img_0001.jpg, 1 in 1.jpg to 10.jpg.
    """

    prefix: str
    width: int
    suffix: str
    first: int
    count: int

    @classmethod
    def of(cls, folder: Path) -> "Pictures | None":
        """Return the pictures of `folder`, None when it has none; VideoError when they are not one whole series."""
        found = {name: match for name in sorted(os.listdir(folder)) if (match := PICTURE.fullmatch(name))}
        if not any(match["number"] for match in found.values()):
            return None
        series = {(m["prefix"], m["suffix"], bool(m["number"])): name for name, m in reversed(found.items())}
        if len(series) > 1:
            raise VideoError(f"its pictures are not one numbered series: {', '.join(sorted(series.values())[:3])}")
        (prefix, suffix, _), numbers = next(iter(series)), [match["number"] for match in found.values()]
        pictures = cls(prefix, min(map(len, numbers)), suffix, min(map(int, numbers)), len(found))
        missing = next((name for name in map(pictures.name, range(len(found))) if name not in found), None)
        if missing is not None:
            raise VideoError(f"its picture {missing} is missing")
        if len(found) == 1:
            raise VideoError("has only one picture, a clip needs motion")
        return pictures

    def name(self, i: int) -> str:
        """Return the file name of picture i, counted from 0."""
        return f"{self.prefix}{self.first + i:0{self.width}d}{self.suffix}"

    def pattern(self, folder: Path) -> str:
        """Return their path as FFmpeg's image2 demuxer takes it."""
        return f"{folder}/{self.prefix}".replace("%", "%%") + f"%0{self.width}d{self.suffix}"


class Source:
    """An opened source video, for a `with` block; VideoError for everything that is wrong with it.

    Args:
        path: a file, or a folder of numbered pictures, which have no rate and get DEFAULT_FPS.
        edit_list: False shows the frames that an MP4 holds but hides from players (a trimmed start).
    """

    def __init__(self, path: Path, *, edit_list: bool = True) -> None:
        self.path = path
        self.pictures = Pictures.of(path) if path.is_dir() else None
        file, demuxer, options = str(path), None, {} if edit_list else {"ignore_editlist": "1"}
        if self.pictures is not None:
            file, demuxer = self.pictures.pattern(path), "image2"
            options = {"pattern_type": "sequence", "start_number": str(self.pictures.first)}
            options["framerate"] = str(DEFAULT_FPS)
        try:
            self.container = av.open(file, format=demuxer, options=options)
        except InvalidDataError as error:
            raise VideoError("not a video file, or its header is damaged") from error
        except (FFmpegError, OSError) as error:
            raise VideoError(f"cannot be opened: {error.strerror}") from error
        stream = self.container.streams.best("video")
        if stream is None:
            self.container.close()
            raise VideoError(
                f"its picture {self.pictures.name(0)} is empty" if self.pictures else "has no video stream"
            )
        self.stream = stream
        if stream.codec_context is None:
            self.container.close()
            raise VideoError("its codec is unknown")
        self.codec: str = stream.codec_context.codec.canonical_name
        self.fps = Fraction(stream.average_rate or stream.guessed_rate or DEFAULT_FPS)
        stream.codec_context.thread_count = 1
        if self.pictures is not None:
            stream.codec_context.options = {"err_detect": "explode"}  # else half a JPEG is filled up with gray

    def __enter__(self) -> "Source":
        return self

    def __exit__(self, *error: object) -> None:
        self.container.close()

    def frames(self) -> Iterator[VideoFrame]:
        """Decode all frames in presentation order; VideoError at the first that fails, or when too few came."""
        return self._decode_file() if self.pictures is None else self._decode_pictures(self.pictures)

    def _decode_pictures(self, pictures: Pictures) -> Iterator[VideoFrame]:
        """Decode all pictures; VideoError at the first that is damaged or differs in size from the one before it."""
        count, size = 0, (0, 0)
        try:
            for frame in self.container.decode(self.stream):
                if count and (frame.width, frame.height) != size:
                    now, before = (f"{width}x{height}" for width, height in ((frame.width, frame.height), size))
                    raise VideoError(f"its picture {pictures.name(count)} is {now}, those before it {before}")
                size = frame.width, frame.height
                yield frame
                count += 1
        except FFmpegError as error:
            raise VideoError(f"its picture {pictures.name(count)} does not decode: {error.strerror}") from error
        if count < pictures.count:  # FFmpeg takes an empty file for the end
            raise VideoError(f"its picture {pictures.name(count)} is empty")

    def _decode_file(self) -> Iterator[VideoFrame]:
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
        with Source(self.path, edit_list=False) as whole:
            packets = sum(packet.size > 0 for packet in whole.container.demux(whole.stream))
        return bool(packets >= self.stream.frames * (1 - MOST_MISSING))
