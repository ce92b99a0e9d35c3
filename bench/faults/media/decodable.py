"""Find the damaged videos that decode with FFmpeg's command line, and those that decode to the same pixels twice."""

import subprocess
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import imageio_ffmpeg
import numpy as np

from bench.faults.media.storages import NUM_FRAMES
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import picture_file, read_clip
from dali_pipelines.store.record import ClipError


def steady(index: Index, row: int, before: Sequence[int]) -> bool:
    """Tell whether a video gives the same pixels, or none, whatever its decoder decoded before."""
    found, frames = set(), np.arange(NUM_FRAMES)
    for other in before:
        decode_rgb(read_clip(index, other, frames))
        with suppress(ClipError, OSError):
            found.add(decode_rgb(read_clip(index, row, frames)).tobytes())
    return len(found) < 2


def decodes(index: Index, row: int) -> bool:
    """Tell whether FFmpeg's command line decodes all frames of a video from the bytes that the index lists."""
    units, container, path = index.units(row), index.container(row), index.path(row)
    starts, ends = units.starts.tolist(), units.ends.tolist()
    if container == "picture_files":
        places = [(Path(picture_file(str(path), number)), 0, end) for number, end in enumerate(ends)]
    elif container == "pictures":
        places = [(path, *span) for span in zip(starts, ends, strict=True)]
    else:
        places = [(path, units.init[0], max(ends))]
    made = 0
    for (file, start, end), deflated in zip(places, units.deflated.tolist(), strict=False):
        data = file.read_bytes()[start:end] if file.is_file() else b""
        if len(data) < end - start:
            return False
        try:
            made += frames_made(zlib.decompress(data, -zlib.MAX_WBITS) if deflated else data, container)
        except zlib.error:
            return False
    return made == NUM_FRAMES


def frames_made(data: bytes, container: str) -> int:
    """Return the number of frames that FFmpeg's command line decodes; in foreign files, it may conceal errors."""
    strict = ["-err_detect", "explode"] * (container != "file") + ["-f", "mjpeg"] * container.startswith("picture")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "quiet", "-threads", "1", *strict, "-i", "/dev/stdin"]
    done = subprocess.run([*command, "-map", "0:v:0", "-f", "framemd5", "-"], input=data, capture_output=True)
    return sum(not line.startswith(b"#") for line in done.stdout.splitlines())
