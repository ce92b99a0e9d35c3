"""An untrusted index is read or refused with a reason; its claims never cost memory or open other files."""

import os
import random
import re
import zlib

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.index import Index
from dali_pipelines.store.npz import read_npz, write_npz
from dali_pipelines.store.ragged import Ragged
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.record import ClipError, Record
from dali_pipelines.store.units import MAX_UNITS, PackedFragments
from tests.helpers.archives import memory_storage
from tests.helpers.mutations import INPUTS


def record(fragments, num_frames=None, **other):
    fields = {"width": 16, "height": 16, "fps": 25.0, "codec": "h264", "pix_fmt": "yuv420p", "init_size": 0, **other}
    packed = PackedFragments.of(fragments)
    return Record(num_frames=num_frames or sum(f.frames for f in fragments), fragments=packed, **fields)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Return a dataset with a fake video in each container."""
    root = tmp_path_factory.mktemp("stranger")
    (root / "videos").mkdir()
    (root / "videos" / "a.mp4").write_bytes(bytes(100))
    (root / "whole.avi").write_bytes(bytes(50))
    deflater = zlib.compressobj(wbits=-15)
    packed = deflater.compress(bytes(3000)) + deflater.flush()
    (root / "b.zip").write_bytes(bytes(30) + packed + bytes(20))
    for number in range(3):
        (root / f"{number:05d}.jpg").write_bytes(bytes(10 + number))
    pictures = {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
    records = {
        "a": record([Fragment(5, 40, 3), Fragment(45, 55, 2)], init_size=5),
        "b": record(
            [Fragment(30, len(packed), 1, True), Fragment(30 + len(packed), 20, 1)],
            container="pictures",
            source=str(root / "b.zip"),
            **pictures,
        ),
        "c": record(
            [Fragment(0, 10 + n, 1) for n in range(3)],
            container="picture_files",
            source=str(root / "00000.jpg"),
            **pictures,
        ),
        "d": record([Fragment(0, 50, 9)], container="file", source=str(root / "whole.avi")),
    }
    labels = {"a": 0, "b": 1, "c": 1, "d": -1}
    Index.build(root, records, labels=labels, class_names=("x", "y")).save()
    return root


def arrays_of(root):
    return {name: array.copy() for name, array in read_npz((root / "index.npz").read_bytes()).items()}


def read_all_videos(index):
    """Look up and read each video; a damaged one may raise only ClipError."""
    for row in range(len(index)):
        frames = index.info(row).num_frames
        try:
            index.units(row), index.location(row), index.container(row), index.codec(row), index.record(row).pix_fmt
            read_clip(index, row, np.unique(np.linspace(0, frames - 1, 4).astype(np.int64)))
        except ClipError:
            pass


@pytest.fixture
def altered(root, tmp_path, monkeypatch):
    """Return a function that writes a copy of the index with columns replaced; its sources may be in `root`."""
    monkeypatch.setenv("CLIPFEED_TRUST", str(root))

    def write(**columns):
        arrays = arrays_of(root) | {name.replace("__", "."): np.asarray(value) for name, value in columns.items()}
        with (tmp_path / "index.npz").open("wb") as file:
            write_npz(file, arrays)
        return tmp_path

    return write


def test_the_unaltered_dataset_is_read(root):
    index = Index.load(root)
    clips = [read_clip(index, row, np.arange(index.info(row).num_frames)) for row in range(4)]
    assert [len(clip.data) for clip in clips] == [100, 3020, 33, 50]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"labels": [0, 1, 2, 0]}, "labels"),  # there are two classes
        ({"labels": [0, 1, 1]}, "rows"),
        ({"labels": [0.0, 1.0, 1.0, 0.0]}, "labels"),
        ({"num_frames": [5, 2, 3, 0]}, "num_frames"),
        ({"num_frames": np.array([5, 2, 3, 2**32])}, "num_frames"),
        ({"sizes_WH": [[16, 16]] * 3}, "sizes_WH"),
        ({"sizes_WH": [[16, 1 << 20]] * 4}, "sizes_WH"),
        ({"format_ids": [0, 1, 2, 9]}, "format_ids"),
        ({"rates": [np.nan]}, "rates"),
        ({"rate_ids": [0, 0, 0, 1]}, "rate_ids"),
        ({"init_sizes": np.array([-5, 0, 0, 0])}, "init_sizes"),
        ({"made_at__starts": [0], "made_at": np.empty(0, np.uint8)}, "made_at has 0 rows"),
        ({"names__starts": [0, 3, 2, 3, 4]}, "names are out of order"),
        ({"names__starts": [0, 1, 2, 3, 2**50]}, "names starts beyond"),
        ({"names__starts": np.array([-1, 1, 2, 3, 4])}, "names starts beyond"),
        ({"sources__rows": [0, 1, 2, 4]}, "sources has 4 texts"),
        ({"fragments": np.zeros(9, np.int64)}, "fragments is not text"),
        ({"formats": np.frombuffer(b"x" * 99, np.uint8), "formats__starts": [0, 99]}, "format"),
        ({"version": [3]}, "format 3"),
    ],
)
def test_inconsistent_columns_are_refused_at_opening(altered, columns, message):
    with pytest.raises(UserError, match=rf"index.npz is damaged or not an index .*{message}.*prepare` again"):
        Index.load(altered(**columns))


@pytest.mark.parametrize("name", ["../../secret/s", "/etc/passwd", "a/../../b", "..", "x/.."])
def test_a_name_outside_the_dataset_is_refused_and_quoted(altered, name):
    texts = Ragged.of_texts(["..a/b..", "b", name, "a..b"])
    with pytest.raises(UserError, match=rf"'{name}' would lie outside"):
        Index.load(altered(names=texts.values, names__starts=texts.starts))
    allowed = Ragged.of_texts(["..a/b..", "...", "a./.b", "a..b"])
    assert len(Index.load(altered(names=allowed.values, names__starts=allowed.starts))) == 4


@pytest.mark.parametrize(
    "source", ["/etc/passwd", "../secret.mp4", "videos/../../s.mp4", "http://10.0.0.1/a", "/data2/s"]
)
def test_sources_of_a_foreign_index_need_trust(altered, monkeypatch, source):
    """`prepare --codec original` writes such sources; they are read only where the index was made."""
    texts = Ragged.of_texts(["", "shards/..a.tar", source])
    columns = {"sources": texts.values, "sources__starts": texts.starts, "sources__rows": [0, 1, 1, 2]}
    folder = altered(**columns)
    monkeypatch.setenv("CLIPFEED_TRUST", "my_pkg,/data")
    with pytest.raises(UserError, match=rf"a video outside of it: {re.escape(source)}\. .*set CLIPFEED_TRUST="):
        Index.load(folder)
    if ".." not in source:
        monkeypatch.setenv("CLIPFEED_TRUST", f"my_pkg,{source.rpartition('/')[0]}/")
        assert len(Index.load(folder)) == 4


def test_the_suggested_trusted_folder_is_never_the_root(altered, monkeypatch):
    for sources, folder in ((("/d/v/a/1", "/d/v/b/2"), "/d/v"), (("/d/a/1", "/e/b/2"), "/d/a")):
        texts = Ragged.of_texts(["", *sources])
        root = altered(sources=texts.values, sources__starts=texts.starts, sources__rows=[0, 1, 1, 2])
        with pytest.raises(UserError, match=rf"set CLIPFEED_TRUST={folder}$"):
            Index.load(root)
    monkeypatch.setenv("CLIPFEED_TRUST", "/d,/e")
    assert len(Index.load(root)) == 4


def with_table(altered, table, num_frames):
    tables = Ragged.of_bytes([table, *([PackedFragments.of([Fragment(0, 1, 1)]).table] * 3)])
    return Index.load(
        altered(fragments=tables.values, fragments__starts=tables.starts, num_frames=[num_frames, 1, 1, 1])
    )


@pytest.mark.usefixtures("little_memory")
@pytest.mark.parametrize(
    ("fragments", "num_frames", "message"),
    [
        ([Fragment(5, 1 << 42, 1)], 1, "it ends at byte 100, 4398046511109 are expected"),
        ([Fragment(5, 1 << 50, 1)], 1, "bytes a fragment"),
        ([Fragment(5, 10, 50)], 2**30, "its fragments hold 50 frames, not 1073741824"),
        ([Fragment(90, 20, 1)], 1, "it ends at byte 100, 110 are expected"),
    ],
)
def test_a_video_larger_than_its_file_is_a_clip_error(altered, root, monkeypatch, fragments, num_frames, message):
    with monkeypatch.context() as patch:
        patch.setattr("dali_pipelines.store.units.MAX_BYTES", 1 << 60)  # else packing refuses it
        table = PackedFragments.of(fragments).table
    index = with_table(altered, table, num_frames)
    (index.root / "videos").symlink_to(root / "videos")
    with pytest.raises(ClipError, match=message):
        read_clip(index, 0, np.array([0]))


def test_too_many_fragments_are_a_clip_error(altered):
    index = with_table(altered, bytes([0, *b"\xff\xff\xff\xff\x7f", 5, 0, 2, 0]), 2**31 - 1)
    with pytest.raises(ClipError, match=rf"a: it claims {2**35 - 1} fragments"):
        index.units(0)
    assert MAX_UNITS < 2**31


def test_a_pipe_is_refused_without_waiting(root, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    index = Index.build(tmp_path, {"p": record([Fragment(0, 5, 1)], container="file", source=str(tmp_path / "pipe"))})
    with pytest.raises(ClipError, match="pipe: it is no regular file"):
        read_clip(index, 0, np.array([0]))


def test_a_zip_bomb_is_a_clip_error(root, tmp_path):
    deflater = zlib.compressobj(9, wbits=-15)
    compressed = deflater.compress(bytes(1 << 26)) + deflater.flush()
    (tmp_path / "z.zip").write_bytes(compressed)
    fragments = [Fragment(0, len(compressed), 1, True)]
    source = str(tmp_path / "z.zip")
    index = Index.build(tmp_path, {"z": record(fragments, container="pictures", source=source, codec="mjpeg")})
    with pytest.raises(ClipError, match="has more than 526336 bytes"):
        read_clip(index, 0, np.array([0]))


def test_unnumbered_pictures_are_a_clip_error(root, tmp_path):
    (tmp_path / "a.jpg").write_bytes(bytes(5))
    fragments = [Fragment(0, 5, 1), Fragment(0, 5, 1)]
    index = Index.build(tmp_path, {"p": record(fragments, container="picture_files", source=str(tmp_path / "a.jpg"))})
    with pytest.raises(ClipError, match=r"a\.jpg is not the first of numbered pictures"):
        read_clip(index, 0, np.array([1]))


EXTREMES = (0, 1, -1, 2, 127, 128, 255, 256, 2**31 - 1, 2**31, 2**32, 2**50, 2**62, 2**63 - 1, -(2**63))


def damaged_bytes(rng, whole):
    data = bytearray(whole)
    if rng.random() < 0.1:
        return bytes(data[: rng.randrange(len(data))])
    for _ in range(rng.choice((1, 1, 2, 8))):
        at = rng.randrange(len(data))
        data[at] = rng.randrange(256)
    return bytes(data)


def damaged_array(rng, arrays):
    name = rng.choice(sorted(arrays))
    array = arrays[name]
    if rng.random() < 0.1:
        return {other: value for other, value in arrays.items() if other != name}
    if rng.random() < 0.2:
        array = array[: rng.randrange(len(array) + 1)]
    elif rng.random() < 0.1:
        array = array.astype(rng.choice(("i8", "u8", "f4", "?", "i2")))
    if len(array):
        array = array.copy()
        for _ in range(rng.choice((1, 1, 3))):
            value = rng.choice((*EXTREMES, rng.randrange(256)))
            with np.errstate(all="ignore"):
                array.reshape(-1)[rng.randrange(array.size)] = np.array(value).astype(array.dtype)
    return {**arrays, name: array}


@pytest.mark.slow
@pytest.mark.usefixtures("little_memory")
def test_damaged_indexes_are_read_or_refused(root, monkeypatch):
    """Half have damaged bytes; half are valid files with a damaged array."""
    whole, arrays, rng = (root / "index.npz").read_bytes(), arrays_of(root), random.Random(0)
    memory = memory_storage(monkeypatch)
    monkeypatch.setenv("CLIPFEED_TRUST", str(root))
    memory.files = {"memory://s/videos/a.mp4": bytes(100), "memory://s/index.npz": whole}
    outcomes = {"read": 0, "refused": 0}
    for number in range(INPUTS):
        with monkeypatch.context() as patch:
            if number % 2:
                damaged = damaged_array(rng, arrays)
                patch.setattr("dali_pipelines.store.table.read_npz", lambda data, damaged=damaged: dict(damaged))
            else:
                memory.files["memory://s/index.npz"] = damaged_bytes(rng, whole)
            try:
                read_all_videos(Index.load("memory://s"))
                outcomes["read"] += 1
            except UserError:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > INPUTS // 10
