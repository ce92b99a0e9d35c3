"""Pictures converted by FFmpeg's filters: to the store's form before encoding, and to RGB after decoding."""

import itertools

import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import PictureType, VideoFrame
from numpy.typing import NDArray

from dali_pipelines.plan.cuts import Cut
from dali_pipelines.store.turn import Turn

Filter = tuple[str, str]  # name and options
Planes = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]  # (H, W) each

_UPRIGHT: dict[int, tuple[Filter, ...]] = {
    0: (),
    90: (("transpose", "cclock"),),
    180: (("hflip", ""), ("vflip", "")),
    270: (("transpose", "clock"),),
}


def rotation(frame: VideoFrame) -> int:
    """The rotation tag: degrees counterclockwise, 0 to 270, by which the frame must be turned."""
    return round(frame.rotation / 90) * 90 % 360


def upright_size(frame: VideoFrame) -> tuple[int, int]:
    """Width and height of the upright frame. Pixels count as square whatever the tag says, as in DALI."""
    return (frame.height, frame.width) if rotation(frame) % 180 else (frame.width, frame.height)


class Converter:
    """Sends frames through a chain of filters, which is rebuilt when size or format change midway.

    turn: whether frames with a rotation tag are turned upright first.
    """

    def __init__(self, *filters: Filter, turn: bool = False) -> None:
        self.filters = filters
        self.turn = turn
        self._built_for: tuple[int | str, ...] = ()
        self._graph: Graph  # held on to: its filters do not keep it alive
        self._source: FilterContext
        self._sink: FilterContext

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        """The converted frame, with no picture type, so that an encoder does not repeat the source's key frames."""
        turn = rotation(frame) if self.turn else 0
        kind = (frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range, turn)
        if kind != self._built_for:
            self._build(frame, _UPRIGHT[turn])
            self._built_for = kind
        self._source.push(frame)
        picture = self._sink.pull()
        assert isinstance(picture, VideoFrame)
        picture.pict_type = PictureType.NONE
        return picture

    def _build(self, frame: VideoFrame, first: tuple[Filter, ...]) -> None:
        self._graph = Graph()
        self._graph.threads = 1  # the caller has one process a core
        self._source = self._graph.add(
            "buffer",
            f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1000"
            f":colorspace={int(frame.colorspace)}:range={int(frame.color_range)}",
        )
        self._sink = self._graph.add("buffersink")
        between = [self._graph.add(name, options) for name, options in (*first, *self.filters)]
        for before, after in itertools.pairwise([self._source, *between, self._sink]):
            before.link_to(after)
        self._graph.configure()


def store_converter(width: int, height: int, *, pix_fmt: str = "yuv420p") -> Converter:
    """To upright yuv420p pictures of one size in BT.601 limited range, or yuvj420p in full range.

    DALI and NVDEC decode everything as BT.601, so the matrix and range that the source is tagged with are resolved
    here, once. An untagged source counts as BT.601 limited, as FFmpeg has it.
    """
    levels = "tv" if pix_fmt == "yuv420p" else "pc"
    scale = f"{width}:{height}:flags=area:out_color_matrix=bt601:out_range={levels}"
    return Converter(("scale", scale), ("setsar", "1"), ("format", pix_fmt), turn=True)


class RgbConverter:
    """To planes of R, G and B by BT.601 whatever the tag says, honoring the range tag.

    Chroma is interpolated and centered, as DALI does it: its CPU decoder gives the same pixels to the bit.

    cut: part of the frame to cut out, scale, mirror and turn, so that no other pixel becomes RGB. Luma and chroma are
        scaled on their own, within a few gray levels of `graph.geometry` on RGB: tests/dali_pipelines/test_cuts.py.
    """

    def __init__(self, cut: Cut | None = None) -> None:
        self._turn = Turn(cut.size, cut.quarters, cut.degrees) if cut else lambda plane: plane
        first: list[Filter] = []
        size, kind = "", "bilinear"
        if cut:
            y, x, height, width = cut.box
            if any(number % 2 for number in cut.box):  # begins or ends between two samples of 4:2:0 chroma
                left, top = x - x % 2, y - y % 2
                right, bottom = x + width + (x + width) % 2, y + height + (y + height) % 2
                around = f"min({right},iw)-{left}:min({bottom},ih)-{top}:{left}:{top}"
                first.append(("crop", f"{around}:exact=1"))
                first += [("scale", "flags=bilinear+accurate_rnd"), ("format", "yuv444p")]
                y, x = y % 2, x % 2
            first.append(("crop", f"{width}:{height}:{x}:{y}:exact=1"))
            if cut.mirror:
                first.append(("hflip", ""))
            size = f"{cut.size}:{cut.size}:"
            if cut.cubic:
                size, kind = f"{size}param0=0:param1=0.5:", "bicubic"  # DALI's and PIL's cubic
        scale = f"{size}in_color_matrix=bt601:flags={kind}+full_chroma_int+accurate_rnd"
        # FFmpeg makes planes of G, B and R in a third of the time of packed RGB, of the same values.
        self._convert = Converter(*first, ("scale", scale), ("format", "gbrp"))

    def __call__(self, frame: VideoFrame) -> Planes:
        green, blue, red = (
            np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
            for plane in self._convert(frame).planes
        )
        return self._turn(red), self._turn(green), self._turn(blue)
