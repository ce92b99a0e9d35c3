"""Convert frames with FFmpeg's filters to the form that the store encodes."""

import struct
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from av.filter import Graph
from av.sidedata.sidedata import Type
from av.video.frame import PictureType, VideoFrame

Filter = tuple[str, str]  # name and options
SQUARE = Fraction(1)


def _unnamed(kinds: type[Type], number: int) -> Any:
    """Return a kind of side data that FFmpeg knows and PyAV does not, such as EXIF (31)."""
    kind: Any = object.__new__(kinds)
    kind._name_, kind._value_ = f"TYPE_{number}", number
    return kind


# PyAV reads all side data of a frame or none: one of a kind that it has no name for hides the display matrix.
Type._missing_ = classmethod(_unnamed)  # type: ignore[assignment]


def orientation(frame: VideoFrame) -> tuple[Filter, ...]:
    """Return the filters that rotate and mirror a frame as players do, by its display matrix, if any.

    The matrix maps (x, y) to (a x + c y, b x + d y); rotations are rounded to the nearest multiple of 90 degrees.
    Source: libavutil/display.h.
    """
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return ()
    a, b, _, c, d = struct.unpack_from("<5i", bytes(matrix))  # type: ignore[call-overload]
    if abs(b) > abs(a):
        direction = ("cclock_flip" if c > 0 else "clock") if b > 0 else ("clock_flip" if c < 0 else "cclock")
        return (("transpose", direction),)
    return tuple((name, "") for name, entry in (("hflip", a), ("vflip", d)) if entry < 0)


def oriented(frames: Iterable[VideoFrame], *, lasting: bool) -> Iterator[tuple[VideoFrame, tuple[Filter, ...]]]:
    """Yield each frame with the filters of its orientation.

    If it is `lasting`, a display matrix applies until the next one: H.264 and HEVC attach it to some pictures only.
    """
    turn: tuple[Filter, ...] = ()
    for frame in frames:
        if not lasting or frame.side_data.get("DISPLAYMATRIX") is not None:
            turn = orientation(frame)
        yield frame, turn


def upright_size(frame: VideoFrame, turn: tuple[Filter, ...], pixel_aspect: Fraction = SQUARE) -> tuple[int, int]:
    """Return width and height of a frame in square pixels, turned by the filters of its orientation.

    `pixel_aspect` is width over height of the frame's pixels.
    """
    width, height = round(frame.width * pixel_aspect), frame.height
    return (height, width) if any(name == "transpose" for name, _ in turn) else (width, height)


class Converter:
    """Send frames through a chain of filters that is rebuilt when their size, format or orientation changes."""

    def __init__(self, *filters: Filter) -> None:
        self.filters = filters
        self._built_for: tuple[object, ...] = ()
        self._graph: Graph

    def __call__(self, frame: VideoFrame, turn: tuple[Filter, ...] = ()) -> VideoFrame:
        """Convert a frame, first by the filters `turn`.

        Its picture type is cleared, or an encoder would repeat the source's key frames.
        """
        kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, turn)
        if kind != self._built_for:
            self._graph, self._built_for = self._built(frame, turn), kind
        self._graph.vpush(frame)
        picture = self._graph.vpull()
        picture.pict_type = PictureType.NONE
        return picture

    def _built(self, frame: VideoFrame, first: tuple[Filter, ...]) -> Graph:
        graph = Graph()
        graph.threads = 1  # the caller has one process per core
        source = (
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000"
            f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}"
        )
        chain = (("buffer", source), *first, *self.filters, ("buffersink", ""))
        graph.link_nodes(*(graph.add(name, options) for name, options in chain)).configure()
        return graph


def store_converter(width: int, height: int, *, pix_fmt: str = "yuv420p") -> Converter:
    """Return a converter to yuv420p of one size in BT.601 limited range, or to yuvj420p in full range.

    DALI and NVDEC decode everything as BT.601, so the source's tagged matrix and range are converted here, once.
    Untagged sources count as BT.601 limited, as in FFmpeg.
    """
    levels = "tv" if pix_fmt == "yuv420p" else "pc"
    scale = f"{width}:{height}:flags=area:out_color_matrix=bt601:out_range={levels}"
    return Converter(("scale", scale), ("setsar", "1"), ("format", pix_fmt))
