"""Small test videos, made with the FFmpeg binary of imageio-ffmpeg (independent of PyAV, which the project uses)."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import imageio_ffmpeg
import numpy as np

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SHARED_MEDIA = Path(__file__).parents[2].parent / "shared" / "media"

BT601 = "in_color_matrix=bt601:flags=bilinear+full_chroma_int+accurate_rnd"
"""Options with which FFmpeg's filter `scale` makes RGB as the project does."""

ENCODERS: dict[str, list[str]] = {
    "h264": ["-c:v", "libx264", "-preset", "ultrafast"],
    "hevc": ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none"],
    "vp9": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8"],
    "vp8": ["-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", "8"],
    "av1": ["-c:v", "libsvtav1", "-preset", "12"],
    "mpeg4": ["-c:v", "mpeg4", "-q:v", "4"],
    "mjpeg": ["-c:v", "mjpeg", "-q:v", "4"],
}


def run_ffmpeg(*arguments: str | Path) -> bytes:
    """Run the binary and return its stdout; raise AssertionError with its stderr if it fails."""
    command = [FFMPEG, "-v", "error", "-y", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def make_video(
    path: Path,
    *,
    codec: str = "h264",
    frames: int = 40,
    size: tuple[int, int] = (96, 64),
    fps: int = 25,
    gop: int | None = None,
    extra: Sequence[str] = (),
) -> Path:
    """Write a moving test picture of `size` (width, height); the suffix of `path` picks the container.

    `extra` goes to FFmpeg before the output: ["-bf", "2"], ["-pix_fmt", "yuv444p"] ...
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    source = ["-f", "lavfi", "-i", f"testsrc2=size={size[0]}x{size[1]}:rate={fps}", "-frames:v", str(frames)]
    pixels = ["-pix_fmt", "yuvj420p" if codec == "mjpeg" else "yuv420p"]
    every = ["-g", str(gop)] if gop else []
    run_ffmpeg(*source, *pixels, *ENCODERS[codec], *every, *extra, path)
    return path


def read_video(path: Path, *filters: str) -> np.ndarray:
    """Return all frames of a video as the FFmpeg binary decodes them: uint8 (T,H,W,3) RGB, upright."""
    chain = ["-vf", ",".join(filters)] if filters else []
    output = ["-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"]
    ppm = run_ffmpeg("-i", path, *chain, *output)
    magic, size, depth, _ = ppm[:64].split(b"\n", 3)
    assert magic == b"P6"
    width, height = map(int, size.split())
    header = len(magic) + len(size) + len(depth) + 3  # and a line break each
    pictures = np.frombuffer(ppm, np.uint8).reshape(-1, header + height * width * 3)
    assert (pictures[:, :header] == pictures[0, :header]).all()
    return pictures[:, header:].reshape(-1, height, width, 3).copy()  # one block, which may be written to


def difference(stored: Path, *filters: str, of: Path) -> float:
    """Return the mean difference, in gray levels, between a stored video and the binary's frames of `of`."""
    shown, ours = read_video(of, *filters), read_video(stored)
    assert ours.shape == shown.shape
    return float(np.abs(ours.astype(int) - shown).mean())
