"""Small videos in every storage, as one dataset, and ways to damage them."""

import os
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.prepare.shards import write_shard
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import SHARD_FOLDER, video_path
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import picture_file
from dali_pipelines.store.record import Record
from tests.helpers.archives import jpegs_of, pack, write_tar
from tests.helpers.media import ENCODERS, run_ffmpeg

CODECS = {"h264": 1, "hevc": 4, "mjpeg": 1, "rawvideo": 1, "vp9": 4}
"""GOP of a prepared store in each codec."""
PICTURES = {"folders": "folder", "zips": "zip stored", "deflated zips": "zip deflated"}
PACKED_PICTURES = {"tar of pictures": "tar", "LMDB": "LMDB file"}
WHOLE_FILES = (*CODECS, "files", *PICTURES)
"""Storages in which a file holds a single video or picture."""
STORAGES = (*WHOLE_FILES, *PACKED_PICTURES, "shards", "tar of videos")
FORMATS = ((".mp4", "h264"), (".avi", "mpeg4"), (".webm", "vp9"), (".mkv", "hevc"))
"""Formats of the video files, in turn."""
NUM_FRAMES, WIDTH, HEIGHT = 6, 176, 160

TEXT = b"<html><body>404 Not Found</body></html>\n"
IN_BYTES = ("a bit flipped", "64 bytes overwritten", "a block zeroed", "replaced by text")
IN_FILES = ("cut off", "emptied", "deleted", "a folder in its place", "a pipe in its place")
"""Damage to any bytes, and damage to files that hold a single video or picture."""


def write_storages(root: Path, *, videos: int) -> Index:
    """Write `videos` different videos in each of STORAGES; return the index, with names such as "zips/0007"."""
    numbers = [f"{number:04d}" for number in range(videos)]
    records: dict[str, Record] = {}
    for codec, gop in CODECS.items():
        for seed, number in enumerate(numbers):
            path = video_path(root, name := f"{codec}/{number}")
            path.parent.mkdir(parents=True, exist_ok=True)
            records[name] = write_frames(path, frames(seed), fps=25, settings=Encoding(codec=codec, gop=gop))
    records |= in_shard(root, {f"h264/{number}": records[f"h264/{number}"] for number in numbers})
    made = root / "made"
    (made / "files").mkdir(parents=True)
    (made / "tar of videos").mkdir()
    for seed, number in enumerate(numbers):
        suffix, codec = FORMATS[seed % len(FORMATS)]
        run_ffmpeg("-i", video_path(root, f"h264/{number}"), *ENCODERS[codec], made / "files" / f"{number}{suffix}")
    files = {path.name: path.read_bytes() for path in sorted((made / "files").iterdir())}
    write_tar(made / "tar of videos" / "all.tar", files)
    jpegs = {number: jpegs_of(video_path(root, f"h264/{number}"), root / "jpegs" / number) for number in numbers}
    for kind, way in (PICTURES | PACKED_PICTURES).items():
        pack(way, made / kind, jpegs)
    for kind in ("files", "tar of videos", *PICTURES, *PACKED_PICTURES):
        for name, place in find_videos([made / kind], outside=root / "videos").videos.items():
            records[f"{kind}/{name}"] = leave_in_place(place)
    return Index.build(root, records)


def frames(seed: int) -> Iterator[np.ndarray]:
    """Yield uint8 (H, W, 3) frames of coarse noise that slides to the right."""
    noise = np.random.default_rng(seed).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    picture = np.kron(noise, np.ones((8, 8, 1), np.uint8))
    return (np.roll(picture, 2 * t, axis=1) for t in range(NUM_FRAMES))


def in_shard(root: Path, records: dict[str, Record]) -> dict[str, Record]:
    """Pack prepared videos into one tar, as `prepare --shards` does."""
    source = f"{SHARD_FOLDER}/all.tar"
    (root / source).parent.mkdir()
    packed = write_shard(root / source, root, dict.fromkeys(records, -1))
    return {
        name.replace("h264", "shards"): replace(
            record, source=source, fragments=record.fragments.moved(packed[name].offset)
        )
        for name, record in records.items()
    }


def damage(index: Index, row: int, kind: str) -> None:
    """Damage the file of a video, or one of its pictures."""
    rng = random.Random(index.names.text(row))
    path, units = index.path(row), index.units(row)
    begin, end = units.init[0], int(units.ends.max())
    if index.container(row) == "picture_files":
        path = Path(picture_file(str(path), rng.randrange(len(units.ends))))
        begin, end = 0, path.stat().st_size
    data = bytearray(path.read_bytes())
    if kind in IN_FILES:
        path.unlink()
        if kind == "cut off":
            path.write_bytes(data[: rng.randrange(1, len(data))])
        elif kind == "emptied":
            path.touch()
        elif kind == "a folder in its place":
            path.mkdir()
        elif kind == "a pipe in its place":
            os.mkfifo(path)
        return
    size = {"a bit flipped": 1, "64 bytes overwritten": 64, "a block zeroed": 512}.get(kind, end - begin)
    at = rng.randrange(begin, max(end - size, begin) + 1)
    size = min(size, end - at)
    data[at : at + size] = {
        "a bit flipped": bytes([data[at] ^ 1 << rng.randrange(8)]),
        "64 bytes overwritten": rng.randbytes(size),
        "a block zeroed": bytes(size),
        "replaced by text": (TEXT * (size // len(TEXT) + 1))[:size],
    }[kind]
    path.write_bytes(data)
