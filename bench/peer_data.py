"""The same videos as H.264 files, as zips of JPEGs and as a prepared store, and the clips that the loader draws."""

import importlib
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from bench import data
from configs.errors import UserError
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.files import replacing, video_path
from dali_pipelines.store.index import INDEX_FILE, Index, VideoInfo, open_dataset

if TYPE_CHECKING:
    from dali_pipelines.loader import ClipLoader

SOURCE_SIZE = (340, 256)  # width, height of the usual copies of Kinetics
JPEG_QUALITY = 90


@dataclass(frozen=True)
class Colours:
    """Changes of colour, each None where it was not drawn.

    levels: grey levels added. gain: factor. hue, saturation: degrees and factor, both or none.
    """

    levels: float | None
    gain: float | None
    hue: float | None
    saturation: float | None


@dataclass(frozen=True)
class PeerClip:
    """One sample of the loader, for a peer: what to take from which files.

    box: top, left, height, width of the crop in whole pixels of the source. flip: mirror left to right.
    """

    video: Path
    jpegs: Path
    frames: list[int]
    box: tuple[int, int, int, int]
    flip: bool
    colours: Colours


def peer_store(root: Path, *, videos: int, source_gop: int, short_side: int | None = None) -> Index:
    """The prepared dataset below `root`, with its sources beside it; made only where they are missing.

    VP9 with a GOP of 8; `short_side` as in `prepare`, None leaves the size.
    """
    settings = Encoding(codec="vp9", gop=8, short_side=short_side)
    store = root / "store"
    if not (store / INDEX_FILE).is_file():
        records = {}
        for number in range(videos):
            name = f"video{number:03d}"
            video = _source(root, name)
            _write_h264(video, number, gop=source_gop)
            _write_jpegs(_jpegs(root, name), video)
            records[name] = write_video(video_path(store, name), video, settings)
        Index.build(store, records).save()
    return open_dataset(store)


def _source(root: Path, name: str) -> Path:
    return root / "h264" / f"{name}.mp4"


def _jpegs(root: Path, name: str) -> Path:
    return root / "jpegs" / f"{name}.zip"


def _write_h264(path: Path, seed: int, *, gop: int) -> None:
    """As FFmpeg encodes H.264 when told no more than the size and the GOP: B-frames, CRF 23."""
    try:
        binary = importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe()
    except ModuleNotFoundError as error:
        raise UserError("--peers makes H.264 files with imageio-ffmpeg: pip install imageio-ffmpeg") from error
    width, height = SOURCE_SIZE
    given = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{data.WIDTH}x{data.HEIGHT}", "-r", str(data.FPS), "-i", "-"]
    made = ["-vf", f"scale={width}:{height}", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", str(gop), "-f", "mp4"]
    frames = b"".join(frame.tobytes() for frame in data.drift(seed))
    with replacing(path) as part:
        subprocess.run([binary, "-v", "error", "-y", *given, *made, str(part)], input=frames, check=True)


def _write_jpegs(path: Path, video: Path) -> None:
    """The frames of `video` as 00000.jpg ... in one zip, not compressed again."""
    import io

    with (
        replacing(path) as part,
        av.open(str(video)) as container,
        zipfile.ZipFile(part, "w", zipfile.ZIP_STORED) as archive,
    ):
        for number, frame in enumerate(container.decode(video=0)):
            jpeg = io.BytesIO()
            frame.to_image().save(jpeg, "JPEG", quality=JPEG_QUALITY)
            archive.writestr(f"{number:05d}.jpg", jpeg.getvalue())


def peer_clips(loader: "ClipLoader", start: int, batches: int) -> list[PeerClip]:
    """The samples of `batches` batches of a `recognition` loader from step `start` on, in its order.

    Frames and crops are the loader's own. Colours follow the same law (`plan.jitter.mild_jitter`), drawn anew:
    a plan holds them only as one matrix.
    """
    from dali_pipelines.plan.rng import Stream, generator

    root, order = loader.index.root.parent, loader.order
    colours = np.random.default_rng(start)
    clips = []
    for step in range(start, start + batches):
        epoch, place = order.at(step)
        for row in order.rows(epoch, place).tolist():
            info = loader.index.info(row)
            plan = loader.task.plan(info, generator(order.seed, Stream.SAMPLE, epoch, row))
            (top, left), (bottom, right) = _in_source(plan["crop_start"], info), _in_source(plan["crop_end"], info)
            box = (top, min(left, right), bottom - top, abs(right - left))
            video, jpegs = _source(root, info.name), _jpegs(root, info.name)
            clips.append(
                PeerClip(video, jpegs, plan["frames"].tolist(), box, bool(right < left), draw_colours(colours))
            )
    return clips


def _in_source(corner: np.ndarray, info: VideoInfo) -> tuple[int, int]:
    """A corner (y, x) in pixels of the store, in the whole pixels of its source."""
    width, height = SOURCE_SIZE
    return round(float(corner[0]) * height / info.height), round(float(corner[1]) * width / info.width)


def draw_colours(rng: np.random.Generator) -> Colours:
    """Each of three changes with probability 0.2, of the sizes of `plan.jitter.mild_jitter`."""
    drawn = rng.random(3) < 0.2
    levels, log_gain, units, log_saturation = (float(v) for v in rng.uniform(-1, 1, 4) * [32, 0.2, 12, 0.1])
    return Colours(
        levels if drawn[0] else None,
        float(np.exp(log_gain)) if drawn[1] else None,
        2 * units if drawn[2] else None,
        float(np.exp(log_saturation)) if drawn[2] else None,
    )
