"""Write small videos in every storage, as one dataset."""

import os
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data import FPS, write_movie
from bench.storages import cut, write_lmdb, write_zip
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.prepare.shards import write_shard
from dali_pipelines.store.encode import Encoding, write_frames
from dali_pipelines.store.files import SHARD_FOLDER, video_path
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.record import Record
from dali_pipelines.store.units import PackedFragments

CODECS = {"h264": 1, "hevc": 4, "mjpeg": 1, "rawvideo": 1, "vp9": 4}
"""GOP of a prepared store in each codec."""
WHOLE_FILES = (*CODECS, "files", "folders", "zips", "deflated zips")
"""Storages in which a file holds a single video or picture."""
STORAGES = (*WHOLE_FILES, "shards", "tar of videos", "tar of pictures", "LMDB")

DISTINCT, NUM_FRAMES, WIDTH, HEIGHT = 8, 6, 176, 160
FORMATS = ((".mp4", "libx264"), (".avi", "mpeg4"), (".webm", "libvpx-vp9"), (".mkv", "libx265"))
"""Formats of the video files, in turn."""


def write_storages(root: Path, *, videos: int) -> Index:
    """Write `videos` videos in each of STORAGES below `root`; return the index, with names such as "zips/0007".

    Only DISTINCT of them differ. Files with equal content are hard links.
    """
    made, names = root / "made", [f"{number:04d}" for number in range(videos)]
    records: dict[str, Record] = {}
    for codec, gop in CODECS.items():
        records |= _prepared(root, codec, names, Encoding(codec=codec, gop=gop))
    records |= _shard(root, {f"h264/{name}": records[f"h264/{name}"] for name in names})
    first, rest = names[:DISTINCT], names[DISTINCT:]
    for number, name in enumerate(first):
        suffix, codec = FORMATS[number % len(FORMATS)]
        video = _path(made / "files" / f"{name}{suffix}")
        write_movie(video, frames(number), codec, size=(WIDTH, HEIGHT), options={})
        cut(str(video), made / "folders" / name)
        write_zip(made / "zips" / f"{name}.zip", made / "folders" / name)
        write_zip(made / "deflated zips" / f"{name}.zip", made / "folders" / name, method=zipfile.ZIP_DEFLATED)
    for number, name in enumerate(rest):
        for kind in ("files", "folders", "zips", "deflated zips"):
            _link(made / kind, first[number % DISTINCT], name)
    for kind in ("tar of videos", "tar of pictures"):
        with tarfile.open(_path(made / kind / "all.tar"), "w", dereference=True) as tar:  # else links stay links
            for path in sorted((made / ("files" if kind == "tar of videos" else "folders")).iterdir()):
                tar.add(path, path.name)
    write_lmdb(_path(made / "LMDB" / "all.lmdb"), {name: made / "folders" / name for name in names})
    for kind in ("files", "folders", "zips", "deflated zips", "tar of videos", "tar of pictures", "LMDB"):
        for name, place in find_videos([made / kind], outside=root / "videos").videos.items():
            records[f"{kind}/{name}"] = leave_in_place(place)
    index = Index.build(root, records)
    index.save()
    return index


def frames(seed: int) -> Iterable[NDArray[np.uint8]]:
    """Yield uint8 (H, W, 3) frames of coarse noise that slides to the right."""
    noise = np.random.default_rng(seed).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), dtype=np.uint8)
    picture = np.kron(noise, np.ones((8, 8, 1), np.uint8))
    return (np.roll(picture, 2 * t, axis=1) for t in range(NUM_FRAMES))


def _prepared(root: Path, codec: str, names: list[str], settings: Encoding) -> dict[str, Record]:
    records: dict[str, Record] = {}
    for number, name in enumerate(names):
        path = _path(video_path(root, f"{codec}/{name}"))
        if number < DISTINCT:
            records[f"{codec}/{name}"] = write_frames(path, frames(number), fps=FPS, settings=settings)
        else:
            os.link(video_path(root, f"{codec}/{names[number % DISTINCT]}"), path)
            records[f"{codec}/{name}"] = records[f"{codec}/{names[number % DISTINCT]}"]
    return records


def _shard(root: Path, records: dict[str, Record]) -> dict[str, Record]:
    """Pack prepared videos into one tar, as `prepare --shards` does."""
    source = f"{SHARD_FOLDER}/all.tar"
    packed = write_shard(_path(root / source), root, dict.fromkeys(records, -1))
    return {
        name.replace("h264", "shards"): replace(
            record, source=source, fragments=PackedFragments.of(record.fragments).moved(packed[name].offset)
        )
        for name, record in records.items()
    }


def _link(folder: Path, old: str, new: str) -> None:
    (source,) = folder.glob(f"{old}*")
    if source.is_dir():
        (folder / new).mkdir()
        for file in source.iterdir():
            os.link(file, folder / new / file.name)
    else:
        os.link(source, folder / f"{new}{source.suffix}")


def _path(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
