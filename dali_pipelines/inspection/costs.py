"""Measure the costs of a dataset: clips of each task, and decoding now and after `prepare` with its defaults."""

import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from configs.errors import UserError
from configs.words import counted
from dali_pipelines.datasets.dataset import Dataset
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.inspection import Section, spread
from dali_pipelines.prepare.settings import encoding_of
from dali_pipelines.samples import plan_of_row
from dali_pipelines.store.encode import write_frames
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import locate_clip, read_clip
from dali_pipelines.store.record import ClipError
from dali_pipelines.store.source import VideoError
from dali_pipelines.tasks import Task

CLIPS = 32
"""Clips that are read per task."""
REENCODED = 3
"""Videos that are re-encoded to estimate the gain."""
LENGTH, STRIDE, ROUNDS = 16, 2, 3


class ClipCosts(NamedTuple):
    """Means over some clips.

    amplification: frames decoded / frames delivered.
    bytes: read from storage per clip.
    """

    amplification: float
    bytes: float


def clip_costs(index: Index, task: Task, *, rows: Iterable[int], draws: int = 1, seed: int = 0) -> ClipCosts:
    """Average the costs of the clips of `rows` over `draws` epochs by reading them; ClipError if one is unreadable."""
    decoded, delivered, read = 0, 0, []
    for epoch in range(draws):
        for row in rows:
            frames = plan_of_row(index, task, seed=seed, epoch=epoch, row=row)["frames"]
            clip = locate_clip(index, row, np.unique(frames))
            decoded += clip.read().decoded
            delivered += len(frames)
            read.append(clip.nbytes)
    return ClipCosts(decoded / delivered, sum(read) / len(read))


def task_costs(dataset: Dataset, tasks: Sequence[Task]) -> Section:
    """Measure some clips of each task."""
    rows, bars = [], []
    for task in tasks:
        try:
            usable = dataset.long_enough(task)
        except UserError:
            rows.append((task.name, str(task.min_frames), "all", "", ""))
            continue
        try:
            costs = clip_costs(usable.index, task, rows=spread(len(usable.index), CLIPS))
            paid, size = f"{costs.amplification:.2f}", f"{costs.bytes / 1000:.0f}"
            bars.append((task.name, costs.amplification))
        except ClipError as error:
            paid, size = str(error), ""
        rows.append((task.name, str(task.min_frames), f"{len(usable.too_short):,}", paid, size))
    header = ("task", "needs frames", "too short", "frames decoded / delivered", "kB / clip")
    return Section("What tasks would leave out and pay", rows, header, bars, unit="frames decoded / delivered")


def gain(index: Index) -> list[Section]:
    """Re-encode some videos with `prepare`'s defaults, and time the same frames from both; [] if that fails."""
    settings = encoding_of("h264")
    some = spread(len(index), REENCODED)
    with tempfile.TemporaryDirectory() as folder:
        records = {}
        try:
            for row in some:
                video = index.info(row)
                frames = decode_rgb(read_clip(index, row, np.arange(min(video.num_frames, 4 * LENGTH * STRIDE))))
                name = f"{row:09}"  # the index sorts names: in the order of `some`
                path = video_path(Path(folder), name)
                records[name] = write_frames(path, frames, fps=round(video.fps) or 25, settings=settings)
        except (ClipError, VideoError, OSError):  # or the folder is full
            return []
        after = Index.build(Path(folder), records)
        old, new = _decoding(index, some, after), _decoding(after, range(len(after)), after)
    small = sum(after.record(row).size for row in range(len(after))) / int(after.num_frames.sum())
    large = sum(index.record(row).size for row in some) / sum(int(index.num_frames[row]) for row in some)
    change = Section(
        "What `prepare` with its defaults would change",
        [
            ("ms to decode a clip on one core", f"{old * 1000:.1f}", f"{new * 1000:.1f}", f"{old / new:.2g}"),
            ("kB a frame", f"{large / 1000:.2f}", f"{small / 1000:.2f}", f"{large / small:.2g}"),
        ],
        ("", "now", "H.264, short side 144, GOP 1", "now / then"),
        notes=[f"{LENGTH} frames, every {STRIDE}nd, of {counted(len(some), 'video')}; decoded whole to RGB by PyAV"],
    )
    return [change]


def _decoding(index: Index, rows: Sequence[int], shortest: Index) -> float:
    """Return the seconds to decode a clip from the middle of a video: mean of the videos, best of ROUNDS."""
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.perf_counter()
        for row, length in zip(rows, shortest.num_frames.tolist(), strict=True):
            first = max(length // 2 - LENGTH * STRIDE // 2, 0)
            decode_rgb(read_clip(index, row, np.minimum(first + STRIDE * np.arange(LENGTH), length - 1)))
        best = min(best, (time.perf_counter() - start) / len(rows))
    return best
