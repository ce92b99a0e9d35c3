"""Encode frames or a source video for the store, one fragment per closed GOP."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

from configs.errors import UserError
from configs.words import counted
from dali_pipelines.store.convert import SQUARE, Filter, oriented, store_converter, upright_size
from dali_pipelines.store.encoders import ENCODERS, open_output
from dali_pipelines.store.files import replacing
from dali_pipelines.store.fmp4 import read_layout
from dali_pipelines.store.nvdec import MULTIPLE, NVDEC_MIN, why_unfit
from dali_pipelines.store.pictures import open_source
from dali_pipelines.store.place import Place
from dali_pipelines.store.record import Record
from dali_pipelines.store.source import VideoError
from dali_pipelines.store.units import PackedFragments

MOVFLAGS = "frag_keyframe+empty_moov+default_base_moof"
_MUXER = {"movflags": MOVFLAGS, "strict": "unofficial"}  # else FFmpeg writes no raw 4:2:0, though it reads it
MAX_STRETCH = 0.02  # change of aspect ratio by rounding that needs no note
KEY_FRAMES_ONLY = frozenset({"mjpeg", "rawvideo"})
MAX_SIDE = 16384  # the limit of x264
MIN_HEVC_SIDE = max(NVDEC_MIN["hevc"])  # CPUs decode any size, but HEVC is stored for GPUs


@dataclass(frozen=True)
class Encoding:
    """How videos are encoded.

    Every side becomes a multiple of 16.

    Attributes:
        codec: "h264", "mjpeg", "rawvideo", "vp9" or "hevc".
        gop: frames from one key frame to the next.
        crf: constant quality, lower is better; the quantizer for MJPEG. None for the codec's default.
        short_side: pixels of the shorter side, aspect kept, never scaled up. None keeps the size.
        size: exact (width, height) instead.
    """

    codec: str = "h264"
    gop: int = 1
    crf: int | None = None
    short_side: int | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.codec not in ENCODERS:
            raise UserError(f"codec {self.codec!r} is not one of {', '.join(ENCODERS)}")
        if self.gop < 1:
            raise UserError(f"gop {self.gop} must be at least 1 frame")
        if self.codec in KEY_FRAMES_ONLY and self.gop != 1:
            raise UserError(f"gop {self.gop}: every frame of {self.codec} is a key frame, leave it at 1")
        best, worst = ENCODERS[self.codec].scale
        if self.crf is not None and not best <= self.crf <= worst:
            raise UserError(f"crf {self.crf} is outside {best} to {worst}, the scale of {self.codec}")
        if self.short_side is not None and self.size is not None:
            raise UserError("give a short side or a size, not both")
        for side in (*(self.size or ()), *((self.short_side,) if self.short_side is not None else ())):
            if rounded(side) < self.least_side:
                raise UserError(f"{side} pixels is too small for {self.codec}: {self.least_side} is the least")
        if self.size is not None and max(self.size) > MAX_SIDE:
            raise UserError(f"{max(self.size)} pixels is too large: {MAX_SIDE} is the most")

    @property
    def least_side(self) -> int:
        """The fewest pixels that a side may have."""
        return MIN_HEVC_SIDE if self.codec == "hevc" else MULTIPLE

    def target(self, width: int, height: int) -> tuple[int, int]:
        """Return the stored (width, height) of a video of `width` x `height` pixels; VideoError if too small."""
        if self.size is not None:
            return rounded(self.size[0]), rounded(self.size[1])
        short = min(width, height)
        scale = min(1.0, self.short_side / short) if self.short_side else 1.0
        stored = tuple(min(rounded(side * scale), side // MULTIPLE * MULTIPLE) for side in (width, height))
        if min(stored) < self.least_side:
            way_out = "; use --codec h264, or --size to scale it up" if self.codec == "hevc" else ""
            raise VideoError(
                f"{width}x{height} is too small for {self.codec}, which needs {self.least_side} pixels a side{way_out}"
            )
        return stored[0], stored[1]


def rounded(side: float) -> int:
    """Return the nearest multiple of 16."""
    return round(side / MULTIPLE) * MULTIPLE


def write_frames(path: Path, frames: Iterable[NDArray[np.uint8]], *, fps: Fraction | int, settings: Encoding) -> Record:
    """Encode RGB frames, uint8 (H,W,3) each, into the fragmented MP4 `path`."""
    rgb = (VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames)
    return _write(path, oriented(rgb, lasting=False), Fraction(fps), settings)


def write_video(path: Path, source: Place | Path, settings: Encoding) -> Record:
    """Re-encode every frame of the video `source`, upright, into the fragmented MP4 `path`.

    A variable frame rate becomes constant, and no frame is dropped or repeated. Pixels become square.
    """
    with open_source(source) as video:
        frames = oriented(video.frames(), lasting=video.codec in ("h264", "hevc"))
        return _write(path, frames, video.fps, settings, video.pixel_aspect, video.notes)


def _write(
    path: Path,
    frames: Iterator[tuple[VideoFrame, tuple[Filter, ...]]],
    fps: Fraction,
    settings: Encoding,
    pixel_aspect: Fraction = SQUARE,
    notes_of_source: tuple[str, ...] = (),
) -> Record:
    first = next(frames, None)
    if first is None:
        raise VideoError("there are no frames to encode")
    shown = upright_size(*first, pixel_aspect)
    width, height = settings.target(*shown)
    encoder = ENCODERS[settings.codec]
    convert = store_converter(width, height, pix_fmt=encoder.pix_fmt)
    count, sizes = 0, set()
    with replacing(path) as temporary:
        with open_output(temporary, encoder.container, _MUXER) as container:
            stream = container.add_stream(encoder.name, rate=fps, options=encoder.options(settings.gop, settings.crf))
            assert isinstance(stream, VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, encoder.pix_fmt
            context = stream.codec_context
            context.thread_count = 1  # one process per core is faster than many threads in one process
            context.colorspace = Colorspace.ITU601
            context.color_range = ColorRange.MPEG if encoder.pix_fmt == "yuv420p" else ColorRange.JPEG
            for count, (frame, turn) in enumerate(itertools.chain([first], frames), start=1):
                sizes.add(upright_size(frame, turn))
                picture = convert(frame, turn)
                picture.pts, picture.time_base = count - 1, 1 / fps
                if settings.gop == 1:
                    picture.pict_type = PictureType.I
                container.mux(stream.encode(picture))
            container.mux(stream.encode(None))
        init_size, fragments = read_layout(temporary)
        expected = [min(settings.gop, count - start) for start in range(0, count, settings.gop)]
        if [fragment.frames for fragment in fragments] != expected:
            raise RuntimeError(f"{encoder.name} did not keep to a GOP of {counted(settings.gop, 'frame')}")
        if reason := why_unfit(temporary, settings.codec, init_size, fragments):
            raise RuntimeError(f"{encoder.name} wrote what a GPU does not decode: {reason}; use --codec vp9")
        packed = PackedFragments.of(fragments)
    stretch = width * shown[1] / (height * shown[0])
    notes = {
        f"made wider or narrower by more than {MAX_STRETCH:.0%}: sides are multiples of {MULTIPLE}": (
            settings.size is None and abs(stretch - 1) > MAX_STRETCH
        ),
        "with pixels that are not square: stored with square ones": pixel_aspect != 1,
        "with a change of size midway: all pictures get the size of the first": len(sizes) > 1,
    }
    return Record(
        num_frames=count,
        width=width,
        height=height,
        fps=float(fps),
        codec=settings.codec,
        pix_fmt=encoder.pix_fmt,
        init_size=init_size,
        fragments=packed,
        notes=(*notes_of_source, *(note for note, holds in notes.items() if holds)),
    )
