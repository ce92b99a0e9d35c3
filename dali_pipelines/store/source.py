"""Decode a source video to its end: what it is, how many frames it really has, or why it cannot be used."""

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import av
from av.error import FFmpegError, InvalidDataError
from av.video.frame import VideoFrame

from dali_pipelines.store.whole import missing_share

MOST_MISSING = 0.1  # share of the frames that may be missing or damaged
UNKNOWN_MATRICES = (8, *range(10, 256))  # numbers of ITU-T H.273 table 4 that FFmpeg's scaler refuses
MOST_ASPECT = 4  # width over height of a pixel, or height over width
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
            # Tags need not be UTF-8.
            self.container = av.open(file, format=demuxer, options=options, metadata_errors="replace")
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
        self.pixel_aspect = _pixel_aspect(stream.sample_aspect_ratio)
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
        begin, end = math.inf, 0.0
        try:
            for frame in self.container.decode(self.stream):
                if int(frame.colorspace) in UNKNOWN_MATRICES:
                    number = int(frame.colorspace)
                    raise VideoError(f"has a color matrix (number {number} of H.273) that FFmpeg does not convert")
                yield frame
                count += 1
                damaged += frame.is_corrupt
                time = frame.time or 0.0
                begin, end = min(begin, time), max(end, time + float(frame.duration * (frame.time_base or 0)))
        except FFmpegError as error:
            if count == 0 and self._is_encrypted():
                raise VideoError("is encrypted") from error
            doubt = f" (is it {self.codec} at all, as its header says?)" if count == 0 else ""
            raise VideoError(f"decode error after {count} frames: {error.strerror}{doubt}") from error
        if count == 0:
            raise VideoError("nothing decodes")
        if damaged > count * MOST_MISSING:
            raise VideoError(f"{damaged} of {count} frames are damaged")
        if self._is_truncated(short := self._shortfall(count, begin, end)):
            raise VideoError(f"truncated: {short or 'its end is missing'}")
        if count == 1:
            raise VideoError("has only one frame, a clip needs motion")

    def _shortfall(self, count: int, begin: float, end: float) -> str | None:
        """Return in words by how much less there is than the header announces, None where it announces nothing.

        Empty where at most a tenth is missing. Frames are announced by AVI and MP4; else a duration counts, the
        stream's own (Matroska's tag) before that of the file, which may be the sound's.

        Args:
            count: frames that decode.
            begin, end: seconds of the first one's start and the last one's end.
        """
        if announced := self.stream.frames:
            is_short = count < announced * (1 - MOST_MISSING)
            return f"the header says {announced} frames, {count} decode" if is_short else ""
        matroska = "matroska" in self.container.format.name
        seconds = _seconds(self.stream.metadata.get("DURATION", "")) if matroska else 0.0
        if not seconds and self.container.duration and len(self.container.streams) == 1:
            seconds = self.container.duration / av.time_base
        if not seconds:
            return None
        lasts = end if matroska else end - begin  # Matroska tells when it ends, others how long it lasts
        is_short = lasts < seconds * (1 - MOST_MISSING)
        return f"the header says {seconds:.1f} s, {lasts:.1f} s decode" if is_short else ""

    def _is_truncated(self, shortfall: str | None) -> bool:
        """Tell whether the end of the file is missing.

        It is when more than a tenth of what the header announces does not decode, and more than a tenth of the bytes
        are not there that the file's outermost structure speaks of (see `whole.missing_share`). An announcement alone
        proves nothing: AVI counts frames that were dropped, and 2**30 of them when written into a pipe; Matroska, FLV
        and others count how long the last picture stays; an edit list hides frames. Bytes alone prove nothing either,
        where all that was announced does decode. Where the format tells nothing of bytes (MPEG-TS, raw streams), the
        announcement decides; where nothing is announced, the bytes do.
        """
        if shortfall == "":
            return False
        with open(self.path, "rb") as file:
            missing = missing_share(file)
        return shortfall is not None if missing is None else missing > MOST_MISSING

    def _is_encrypted(self) -> bool:
        with Source(self.path) as again:
            return any(packet.has_sidedata("encryption_info") for packet in islice(again.container.demux(), 9))


def _seconds(text: str) -> float:
    """Return the seconds of a duration like 00:01:02.5, 0 where it is none."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text.strip("\0 "))
    return float(match[1]) * 3600 + float(match[2]) * 60 + float(match[3]) if match else 0.0


def _pixel_aspect(told: Fraction | None) -> Fraction:
    """Return width over height of a pixel; 1 where a file tells nothing, or what can only be a mistake."""
    return told if told and Fraction(1, MOST_ASPECT) <= told <= MOST_ASPECT else Fraction(1)
