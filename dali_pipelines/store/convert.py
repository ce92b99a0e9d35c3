"""Pictures converted by FFmpeg's filters, to the form of the store before encoding."""

import itertools

from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import PictureType, VideoFrame

Filter = tuple[str, str]  # name and options

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
