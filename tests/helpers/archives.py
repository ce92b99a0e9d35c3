"""Videos and pictures packed in every way that people store them, by the libraries that they use."""

import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import lmdb
import msgpack
import numpy as np
import pytest
from PIL import Image

from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.datasets.labels import read_labels
from dali_pipelines.store import storage
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from tests.helpers.media import run_ffmpeg

Videos = Mapping[str, Sequence[bytes]]
"""The JPEG files of each video."""

WAYS = ("folder", "zip stored", "zip deflated", "RGB_frames", "one zip", "tar", "LMDB folder", "LMDB file")


def jpeg(seed: int = 0, size: tuple[int, int] = (32, 16), **options) -> bytes:
    """Return an encoded colorful picture; `mode` and `format` as in PIL."""
    small = np.random.default_rng(seed).integers(0, 255, (2, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    picture = Image.fromarray(small).resize(size).convert(options.pop("mode", "RGB"))
    picture.save(file, options.pop("format", "JPEG"), **options)
    return file.getvalue()


def jpegs_of(video: Path, folder: Path) -> list[bytes]:
    """Extract a video's frames as JPEGs, as people do: ffmpeg -q:v 2."""
    folder.mkdir(parents=True)
    run_ffmpeg("-i", video, "-q:v", "2", folder / "img_%05d.jpg")
    return [path.read_bytes() for path in sorted(folder.iterdir())]


def pack(way: str, root: Path, videos: Videos) -> Path:
    """Store the pictures of videos under `root` in one of WAYS; return the path to pass to `prepare`."""
    root.mkdir(parents=True, exist_ok=True)
    if way in ("one zip", "tar"):
        files = {f"{name}/img_{i + 1:05d}.jpg": data for name, of in videos.items() for i, data in enumerate(of)}
        if way == "tar":
            return write_tar(root / "all.tar", files)
        return write_zip(root / "all.zip", files)
    if way.startswith("LMDB"):
        return write_lmdb(root / "all.lmdb", videos, subdir=way == "LMDB folder")
    for name, of in videos.items():
        pictures = {f"img_{i + 1:05d}.jpg": data for i, data in enumerate(of)}
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if way == "folder":
            target.mkdir()
            for file, data in pictures.items():
                (target / file).write_bytes(data)
        elif way == "RGB_frames":
            target.mkdir()
            write_zip(target / "RGB_frames.zip", pictures)
        else:
            method = zipfile.ZIP_DEFLATED if way == "zip deflated" else zipfile.ZIP_STORED
            write_zip(target.with_name(f"{target.name}.zip"), pictures, method=method)
    return root


def write_zip(path: Path, files: Mapping[str, bytes], *, method: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def write_tar(path: Path, files: Mapping[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def write_lmdb(path: Path, videos: Videos, *, subdir: bool = False) -> Path:
    """Write an LMDB as CSTP and CoCLR do: values are keyed by number, numbers follow a shuffled order of names."""
    order = np.random.default_rng(0).permutation(sorted(videos)).tolist()
    keys = [f"{i:09d}".encode() for i in range(len(order))]
    with lmdb.open(str(path), subdir=subdir, map_size=2**28) as env, env.begin(write=True) as transaction:
        for key, name in zip(keys, order, strict=True):
            transaction.put(key, msgpack.dumps(list(videos[name])))
        transaction.put(b"__order__", msgpack.dumps(order))
        transaction.put(b"__keys__", msgpack.dumps(keys))
        transaction.put(b"__len__", msgpack.dumps(len(keys)))
        transaction.put(b"__vlen__", msgpack.dumps([len(videos[name]) for name in sorted(videos)]))
    return path


def in_place(*sources: Path | str, root: Path) -> Index:
    """Index sources as `prepare --codec original` does, without its processes."""
    found = find_videos(sources, outside=root / "videos")
    labels, classes, _ = read_labels("folders", found.videos, given=found.labels)
    records = {name: leave_in_place(place) for name, place in found.videos.items()}
    return Index.build(root, records, labels=labels, class_names=classes)


class Memory:
    """Files in memory, as the storage of memory://... URLs."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.read_bytes = 0

    def size(self, location: str) -> int:
        if location not in self.files:
            raise FileNotFoundError(2, "No such file", location)
        return len(self.files[location])

    def read(self, spans: Sequence[storage.Span]) -> np.ndarray:
        parts = []
        for span in spans:
            self.size(span.location)
            part = self.files[span.location][span.start : span.end]
            if len(part) < span.end - span.start:
                raise OSError(5, "it is too short")
            parts.append(part)
        self.asked += [span.location for span in spans]
        self.read_bytes += sum(map(len, parts))
        return np.frombuffer(bytearray().join(parts), np.uint8)


def memory_storage(monkeypatch: pytest.MonkeyPatch) -> Memory:
    """Serve memory://... URLs from a new `Memory`."""
    memory = Memory()
    monkeypatch.setitem(storage.STORAGES, "memory", memory)
    return memory


def write_pictures(
    folder: Path, names: list[str], *, mode: str = "RGB", size: tuple[int, int] = (96, 64), **options
) -> Path:
    """Write pictures of smooth colors, all different; options as in PIL."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        small = np.random.default_rng(number).integers(0, 255, (4, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)
        picture.save(folder / name, quality=95, **options)
    return folder


def numbered(count: int, form: str = "{:05d}.jpg", first: int = 1) -> list[str]:
    return [form.format(number) for number in range(first, first + count)]
