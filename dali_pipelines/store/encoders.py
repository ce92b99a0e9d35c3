"""FFmpeg's encoders for the store, their settings, and output files that are complete or raise an error."""

import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer

from dali_pipelines.store.files import named


@dataclass(frozen=True)
class Encoder:
    """An FFmpeg encoder and its options, in which `{gop}` and `{crf}` are filled in."""

    name: str
    crf: tuple[int, int]
    """The default quality, and that at a GOP of 1."""
    scale: tuple[int, int]
    """The best and the worst value of it."""
    fixed: dict[str, str]
    of_key_frames: dict[str, str] = field(default_factory=dict)
    """Options at a GOP of 1, if they differ."""
    pix_fmt: str = "yuv420p"
    container: str = "mp4"

    def options(self, gop: int, crf: int | None) -> dict[str, str]:
        """Return FFmpeg's options for a GOP of `gop` frames and a quality, None for the default."""
        quality = self.crf[gop == 1] if crf is None else crf
        fixed = self.fixed | (self.of_key_frames if gop == 1 else {})
        return {key: value.format(gop=gop, crf=quality) for key, value in fixed.items()}


_CLOSED = {"crf": "{crf}", "g": "{gop}", "keyint_min": "{gop}", "bf": "0"}

# At the usual values luma (0 to 255) of a Kinetics clip of 192x144 (HEVC: 224x160) has 37 to 40 dB at GOPs of 1, 8 and
# 16. MJPEG at 4 and 3 has 39 and 41 dB, for an eighth and a third more bytes than at 5.
ENCODERS = {
    "vp9": Encoder(
        "libvpx-vp9",
        crf=(28, 44),
        scale=(0, 63),
        # No hidden frames (alt-ref): a GPU decoder would count them.
        fixed={**_CLOSED, "b": "0", "deadline": "realtime", "cpu-used": "5", "auto-alt-ref": "0", "lag-in-frames": "0"},
    ),
    "hevc": Encoder(
        "libx265",
        crf=(22, 18),
        scale=(0, 51),
        fixed={
            **_CLOSED,
            "preset": "superfast",
            "x265-params": "keyint={gop}:min-keyint={gop}:scenecut=0:bframes=0:open-gop=0"
            ":pools=none:frame-threads=1:log-level=none",
        },
    ),
    # Without CABAC and deblocking a CPU decodes it in a third of the time, for a tenth more bytes.
    "h264": Encoder(
        "libx264",
        crf=(20, 16),
        scale=(0, 51),
        fixed={**_CLOSED, "preset": "veryfast", "tune": "fastdecode", "sc_threshold": "0", "flags": "+cgop"},
        # At a GOP of 1, x264 writes a header that says no picture need be kept, so a GPU decoder allocates one surface,
        # too few. Hence 2, with every frame forced to be a key frame; look-ahead would then cost two fifths more bytes.
        of_key_frames={"g": "2", "forced-idr": "1", "rc-lookahead": "0"},
    ),
    "mjpeg": Encoder(
        "mjpeg",
        crf=(5, 5),
        scale=(2, 31),
        fixed={"qmin": "{crf}", "qmax": "{crf}", "huffman": "optimal"},
        pix_fmt="yuvj420p",
    ),
    # MP4 has no name for raw video. QuickTime, its ancestor with the same fragments, has one.
    "rawvideo": Encoder("rawvideo", crf=(0, 0), scale=(0, 0), fixed={}, container="mov"),
}


@contextmanager
def open_output(path: Path, container: str, options: Mapping[str, str]) -> Iterator[OutputContainer]:
    """Open a file for FFmpeg to write; `options` are for the muxer of `container`.

    OSError at the end of the block if not all could be written. FFmpeg alone does not report a full disk.
    """
    with _Sink(path, "wb") as sink:
        with av.open(sink, "w", format=container, options=dict(options)) as opened:
            yield opened
        if sink.error is not None:
            raise named(sink.error, path)


class _Sink(io.FileIO):
    """A file for PyAV to write to. It keeps the first error, since PyAV may raise it anywhere or nowhere."""

    error: OSError | None = None

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while left and self.error is None:
            try:
                left = left[os.write(self.fileno(), left) :]
            except OSError as error:
                self.error = error
        return len(data)
