"""Make videos to measure on, once: drifting textures at the usual Kinetics size."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.frame import VideoFrame
from tqdm import tqdm

from dali_pipelines import limits
from dali_pipelines.datasets.dataset import Dataset
from dali_pipelines.prepare.settings import encoding_of
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import INDEX_FILE, replacing, video_path
from dali_pipelines.store.index import Index
from dali_pipelines.store.record import Record
from dali_pipelines.tasks import Task, task_module

WIDTH, HEIGHT, NUM_FRAMES, FPS = 336, 256, 150, 25
DATA, VIDEOS = Path("runs/bench"), 24


def default_task(name: str) -> Task:
    """Return a task with its default plan."""
    return Task(name, task_module(name).Config())


def for_batches(index: Index, task: Task, batch_size: int) -> Index:
    """Repeat the videos that are long enough for the task if they are fewer than a batch; else return the index."""
    videos = Dataset(index).long_enough(task).index
    copies = -(-batch_size // len(videos))
    return index if copies == 1 else videos.repeat([copies] * len(videos))


def store_name(settings: Encoding) -> str:
    """Return the folder name for videos that are stored this way."""
    return f"{settings.codec}_gop{settings.gop}_{settings.short_side}"


def bench_store(
    root: Path | None = None,
    *,
    videos: int = VIDEOS,
    codec: str = "h264",
    gop: int | None = None,
    short_side: int | None = None,
    classes: int = 0,
) -> Path:
    """Make a dataset of 6 s clips of 336x256, unless it is there already; return its folder.

    By default it is stored as `prepare` does, below DATA in a folder named for the encoding. For training, the videos
    belong to `classes` classes in turn.
    """
    settings = encoding_of(codec, gop=gop, short_side=short_side)
    root = root or DATA / store_name(settings)

    def write(name: str) -> Record:
        return write_frames(video_path(root, name), drift(int(name[-3:])), fps=FPS, settings=settings)

    if not (root / INDEX_FILE).is_file():
        names = [f"video{number:03d}" for number in range(videos)]
        with ThreadPoolExecutor(limits.cores()) as pool:  # the encoders release the GIL
            made = tqdm(pool.map(write, names), desc=f"bench videos in {root}", total=videos, unit="video")
            records = dict(zip(names, made, strict=True))
        labels = {name: place % classes for place, name in enumerate(names)} if classes else None
        Index.build(root, records, labels=labels, class_names=[f"class{label}" for label in range(classes)]).save()
    return root


def write_movie(
    file: Any, frames: Iterable[np.ndarray], encoder: str, *, size: tuple[int, int], options: dict[str, str], **how: Any
) -> None:
    """Write a video file with one of FFmpeg's encoders.

    Args:
        frames: uint8 (H, W, 3), scaled to `size`, which is (width, height) in pixels.
        options: of the encoder.
        how: options of `av.open`.
    """
    with av.open(file, "w", **how) as container:
        stream = container.add_stream(encoder, rate=FPS, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for frame in frames:
            picture = VideoFrame.from_ndarray(frame, format="rgb24")
            container.mux(stream.encode(picture.reformat(*size, interpolation="BICUBIC")))
        container.mux(stream.encode(None))


def source_video(path: Path, number: int, *, size: tuple[int, int] = (WIDTH, HEIGHT), **options: str) -> None:
    """Write a video of texture `number` as H.264 in plain MP4, as downloads are, unless the file is there.

    `size` is (width, height) in pixels; `options` are those of x264.
    """
    if not path.is_file():
        with replacing(path) as part:
            write_movie(part, drift(number), "libx264", size=size, options=options, format="mp4")


def drift(seed: int) -> Iterator[np.ndarray]:
    """Yield uint8 (H, W, 3) frames of a drifting texture with the spectrum of natural pictures, 1/f."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(HEIGHT)[:, None], np.fft.rfftfreq(WIDTH))
    frequency[0, 0] = np.inf
    noise = rng.standard_normal((3, HEIGHT, WIDTH))
    texture = np.fft.irfft2(np.fft.rfft2(noise) / frequency, (HEIGHT, WIDTH)).transpose(1, 2, 0)
    picture = np.clip(128 + 50 * texture / texture.std(), 0, 255).astype(np.uint8)
    step = rng.integers(-3, 4, size=2)
    return (np.roll(picture, step * t, axis=(0, 1)) for t in range(NUM_FRAMES))
