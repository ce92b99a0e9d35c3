"""A video gives the same plan, frames and batch in every storage."""

import csv
import tarfile

import numpy as np
import pytest
import torch

from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.order import Order
from dali_pipelines.prepare import main
from dali_pipelines.samples import SampleSource
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.files import video_path
from dali_pipelines.store.fmp4 import Fragment
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.place import Place
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.remux import copy_video
from dali_pipelines.tasks import Task, ctp, recognition
from tests.helpers.archives import WAYS, in_place, jpegs_of, memory_storage, pack, write_tar
from tests.helpers.media import BT601, make_video, read_video

pytestmark = pytest.mark.slow

NAMES = ["jump/c", "run/a", "run/b"]
FRAMES = [34, 30, 40]
TASKS = {"ctp": Task("ctp", ctp.Config(strides=(1, 2))), "recognition": Task("recognition", recognition.Config())}


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """Return three moving test videos in two classes, and the JPEGs of each."""
    root = tmp_path_factory.mktemp("videos")
    for name, frames in zip(NAMES, FRAMES, strict=True):
        make_video(root / f"{name}.mp4", frames=frames, size=(160, 112))
    return root, {name: jpegs_of(root / f"{name}.mp4", root / "cut" / name) for name in NAMES}


@pytest.fixture(scope="module")
def stored(videos, tmp_path_factory):
    """Return the JPEGs in each storage, indexed in place."""
    root = tmp_path_factory.mktemp("stored")
    return {way: in_place(pack(way, root / way, videos[1]), root=root / way) for way in WAYS}


def batch(index, task):
    (first,) = list(ClipLoader(index, task, batch_size=3, seed=3, threads=1))
    return first


@pytest.mark.parametrize("way", WAYS)
def test_names_classes_and_frame_counts_match_the_videos(stored, way):
    index = stored[way]
    assert list(index.names.texts()) == NAMES
    assert (index.class_names, index.labels.tolist()) == (("jump", "run"), [0, 1, 1])
    assert index.num_frames.tolist() == FRAMES
    assert (index.codec(0), index.record(0).pix_fmt, index.sizes_WH[0].tolist()) == ("mjpeg", "yuvj420p", [160, 112])


@pytest.mark.parametrize("way", WAYS)
def test_frames_equal_the_folders_and_are_close_to_the_video(stored, videos, way):
    for row, name in enumerate(NAMES):
        frames = np.array([FRAMES[row] - 1, 3, 0, 3])
        shown = decode_rgb(read_clip(stored[way], row, frames))
        assert np.array_equal(shown, decode_rgb(read_clip(stored["folder"], row, frames)))
        of_video = read_video(videos[0] / f"{name}.mp4", f"scale={BT601}", "format=rgb24")[frames].astype(int)
        assert np.abs(shown - of_video).mean() < 2
        assert np.abs(shown - np.roll(of_video, 1, axis=0)).mean() > 10


@pytest.mark.parametrize("way", WAYS)
def test_a_clip_reads_only_the_bytes_of_its_frames(stored, videos, way):
    clip = read_clip(stored[way], 2, np.array([5, 31]))
    pictures = videos[1]["run/b"]
    assert clip.data.tobytes() == pictures[5] + pictures[31]


@pytest.mark.parametrize("task", TASKS)
def test_plans_and_batches_equal_those_of_the_folder(stored, task):
    of_folder = SampleSource(stored["folder"], TASKS[task], Order(3, 3, 0, 1, 3, shuffle=False), "frames")
    expected = batch(stored["folder"], TASKS[task])
    for way in WAYS[1:]:
        source = SampleSource(stored[way], TASKS[task], Order(3, 3, 0, 1, 3, shuffle=False), "frames")
        for row in range(3):
            for ours, theirs in zip(source.read(0, row), of_folder.read(0, row), strict=True):
                assert np.array_equal(ours, theirs)
        if way in ("zip deflated", "tar", "LMDB file"):
            found = batch(stored[way], TASKS[task])
            assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("way", WAYS)
def test_archived_pictures_can_be_encoded_again(stored, videos, tmp_path, way):
    source = pack(way, tmp_path / "source", {"run/b": videos[1]["run/b"][:8], "run/a": videos[1]["run/a"][:8]})
    found = find_videos([source], outside=tmp_path / "out").videos
    records = {
        name: write_video(video_path(tmp_path, name), place, Encoding(crf=4, gop=4)) for name, place in found.items()
    }
    index = Index.build(tmp_path, records)
    assert list(index.names.texts()) == ["run/a", "run/b"]
    there = decode_rgb(read_clip(index, 1, np.arange(8))).astype(int)
    assert np.abs(there - decode_rgb(read_clip(stored["folder"], 2, np.arange(8)))).mean() < 2


def test_prepare_indexes_a_zip_again_only_if_it_changed(videos, tmp_path, capsys):
    source = pack("zip stored", tmp_path / "zips", videos[1])
    (tmp_path / "zips" / "run" / "broken.zip").write_bytes(b"PK\3\4 and no more")
    command = [str(source), "--out", str(tmp_path / "out"), "--codec", "original", "--workers", "1"]
    assert main(command) == 3
    assert "3 videos (3 stored now), 104 frames" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "index.npz",
        "prepare.jsonl",
        "quarantine.csv",
    ]
    with (tmp_path / "out" / "quarantine.csv").open() as file:
        ((path, reason),) = [(row["path"], row["reason"]) for row in csv.DictReader(file)]
    assert path == str(source / "run" / "broken.zip")
    assert reason == "is no whole zip: File is not a zip file"
    (tmp_path / "zips" / "run" / "broken.zip").unlink()
    pack("zip stored", tmp_path / "zips", {"run/a": videos[1]["run/a"][:9]})
    assert main(command) == 0
    assert "3 videos (1 stored now), 83 frames" in capsys.readouterr().out


@pytest.fixture(scope="module")
def shard(videos, tmp_path_factory):
    """Write a shard of videos in WebDataset's layout."""
    files: dict[str, bytes] = {}
    for label, name in enumerate(NAMES):
        key = name.replace("/", "_")
        files |= {f"{key}.mp4": (videos[0] / f"{name}.mp4").read_bytes(), f"{key}.txt": b"a caption"}
        files[f"{key}.json" if label else f"{key}.cls"] = b'{"label": 1, "fps": 25}' if label else b"7\n"
    return write_tar(tmp_path_factory.mktemp("shards") / "train-000000.tar", files)


def test_shard_videos_have_their_keys_and_labels(shard, tmp_path):
    index = in_place(shard, root=tmp_path)
    assert list(index.names.texts()) == ["jump_c", "run_a", "run_b"]
    assert index.labels.tolist() == [7, 1, 1]
    assert index.num_frames.tolist() == FRAMES


def test_a_video_in_a_shard_decodes_like_the_file(shard, videos, tmp_path):
    index = in_place(shard, root=tmp_path)
    with tarfile.open(shard) as archive:
        member = archive.getmember("run_b.mp4")
    assert [*leave_in_place(videos[0] / "run/b.mp4").fragments] == [Fragment(0, member.size, FRAMES[2])]
    units = index.units(2)
    assert (units.starts[0], units.ends[0]) == (member.offset_data, member.offset_data + member.size)
    shown = decode_rgb(read_clip(index, 2, np.array([33, 4])))
    expected = read_video(videos[0] / "run/b.mp4", f"scale={BT601}", "format=rgb24")
    assert np.abs(np.subtract(shown, expected[[33, 4]], dtype=int)).max() <= 1


def test_a_video_in_a_shard_can_be_copied_and_encoded_again(shard, videos, tmp_path):
    with tarfile.open(shard) as archive:
        member = archive.getmember("run_b.mp4")
    place = Place(str(shard), "file", "run_b.mp4", np.array([[member.offset_data, member.size, 0]]))
    original = read_video(videos[0] / "run/b.mp4")
    copy_video(tmp_path / "copy.mp4", place)
    assert np.array_equal(read_video(tmp_path / "copy.mp4"), original)
    write_video(tmp_path / "again.mp4", place, Encoding(crf=4))
    assert np.abs(read_video(tmp_path / "again.mp4").astype(int) - original).mean() < 3


@pytest.mark.parametrize("way", ["zip deflated", "tar", "LMDB file", "video"])
def test_files_behind_a_url_are_read_by_range(videos, stored, monkeypatch, tmp_path, way):
    memory = memory_storage(monkeypatch)
    if way == "video":
        url, content = "memory://bucket/b.mp4", (videos[0] / "run/b.mp4").read_bytes()
    else:
        packed = pack(way, tmp_path / "packed", {"run/b": videos[1]["run/b"]})
        file = packed / "run" / "b.zip" if way == "zip deflated" else packed
        url, content = f"memory://bucket/{file.name}", file.read_bytes()
    memory.files[url] = content
    index = in_place(url, root=tmp_path)
    assert index.location(0) == url
    memory.read_bytes = 0
    shown = decode_rgb(read_clip(index, 0, np.array([3, 30])))
    assert memory.read_bytes <= len(content) // (1 if way == "video" else 8)
    expected = decode_rgb(read_clip(stored["folder"], 2, np.array([3, 30]))).astype(int)
    assert np.abs(shown - expected).mean() <= (5 if way == "video" else 0)
