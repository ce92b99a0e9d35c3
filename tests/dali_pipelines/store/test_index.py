"""The index: round trip, selection, lists of videos, and errors when it cannot be read."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.errors import UserError
from dali_pipelines.plan.video import VideoInfo
from dali_pipelines.store.files import video_path
from dali_pipelines.store.index import Index
from dali_pipelines.store.ragged import Ragged
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.record import ClipError
from tests.helpers.indexes import record


@pytest.fixture
def index(tmp_path):
    records = {
        "run/b": record(),
        "jump/a": record(frames=(1, 1, 1), sizes=(7, 8, 9), width=32, fps=29.97),
        "jump/ü w\udcff": record(codec="mpeg4", pix_fmt="yuv444p", source="/elsewhere/x.avi"),
    }
    labels = {"run/b": 1, "jump/a": 0, "jump/ü w\udcff": 0}
    return Index.build(tmp_path, records, labels=labels, class_names=("jump", "run"))


def facts(index):
    return [
        (index.info(i), index.path(i), index.codec(i), index.record(i).pix_fmt, index.units(i).ends.tolist())
        for i in range(len(index))
    ]


def test_rows_are_sorted_by_name_and_match_the_records(index, tmp_path):
    assert index.info(0) == VideoInfo("jump/a", 3, 32, 48, 29.97, 0)
    assert index.info(2) == VideoInfo("run/b", 5, 64, 48, 25.0, 1)
    assert index.path(0) == tmp_path / "videos" / "jump" / "a.mp4"
    assert str(index.path(1)) == "/elsewhere/x.avi"
    assert [index.codec(i) for i in range(3)] == ["vp9", "mpeg4", "vp9"]
    assert [index.record(i).pix_fmt for i in range(3)] == ["yuv420p", "yuv444p", "yuv420p"]
    assert index.units(2).ends.tolist() == [15, 35]
    assert index.units(0).frame_ends.tolist() == [1, 2, 3]


def test_saving_and_loading_keeps_the_index(index):
    index.save()
    again = Index.load(index.root)
    assert facts(again) == facts(index)
    assert again.class_names == ("jump", "run")
    assert again.labels.dtype == np.int64
    assert again.labels.tolist() == [0, 0, 1]
    assert [p.name for p in index.root.iterdir()] == ["index.npz"]


def test_a_dot_in_a_name_is_kept(tmp_path):
    assert video_path(tmp_path, "a/v1.5") == tmp_path / "videos" / "a" / "v1.5.mp4"


@pytest.mark.parametrize("rows", [[2, 0, 2], [2, 0, 1], [0, 2]])
def test_selecting_rows_keeps_their_order_and_repeats(index, rows):
    chosen = index.select(rows)
    assert facts(chosen) == [facts(index)[row] for row in rows]
    chosen.save()
    assert facts(Index.load(index.root)) == facts(chosen)
    assert len(index.select([])) == 0


def test_a_mask_selects_as_in_numpy(index):
    mask = index.labels == index.labels[-1]
    assert not mask.all()
    assert facts(index.select(mask)) == [fact for fact, taken in zip(facts(index), mask, strict=True) if taken]
    with pytest.raises(IndexError):
        index.select(mask[:-1])


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=8), st.data())
def test_taking_rows_of_a_ragged_array_is_indexing_a_list(rows, data):
    rows_taken = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=10))
    taken = Ragged.of_bytes(rows).take(np.array(rows_taken, np.int64))
    assert [taken[i].tobytes() for i in range(len(rows_taken))] == [rows[i] for i in rows_taken]
    with pytest.raises(IndexError):
        taken[len(rows_taken)]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=rf"^{tmp_path / 'gone'} does not exist; .*clipfeed prepare"):
        Index.load(tmp_path / "gone")


@pytest.mark.parametrize("name", ["a.AVI", "img_00001.jpg"])
def test_a_folder_of_videos_suggests_prepare(tmp_path, name):
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / name).write_bytes(b"")
    with pytest.raises(UserError, match=rf"clipfeed prepare {tmp_path} --out DIR.*--codec original"):
        Index.load(tmp_path)


def test_a_folder_without_index_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"no prepared dataset \(it has no index.npz\)"):
        Index.load(tmp_path)


@pytest.mark.parametrize("keep", [0.0, 0.1, 0.5, 0.95])
def test_a_truncated_index_is_called_damaged(index, keep):
    index.save()
    path = index.root / "index.npz"
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * keep)])
    with pytest.raises(UserError, match=r"index.npz is damaged"):
        Index.load(index.root)


def test_another_npz_file_is_refused(tmp_path):
    np.savez(tmp_path / "index.npz", a=np.zeros(3))
    with pytest.raises(UserError, match="damaged or not an index"):
        Index.load(tmp_path)


def test_an_empty_index_refers_to_the_quarantine(tmp_path):
    Index.build(tmp_path, {}).save()
    with pytest.raises(UserError, match=r"holds no videos; see its quarantine.csv"):
        Index.load(tmp_path)


def test_a_dataset_without_index_was_interrupted(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("videos/a.mp4", "prepare.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"has no index.npz: .* interrupted, .*; run the same"):
        Index.load(tmp_path)


@settings(max_examples=60, deadline=None)
@given(
    gops=st.lists(st.integers(1, 20), min_size=1, max_size=12),
    init_size=st.integers(0, 6),
    data=st.data(),
)
def test_a_clip_has_the_fragments_of_its_frames(tmp_path_factory, gops, init_size, data):
    """Each byte of a fake file is a frame number, so a clip's bytes tell which frames it holds."""
    root = tmp_path_factory.mktemp("fake")
    sizes = [3 * gop for gop in gops]  # three bytes a frame
    index = Index.build(root, {"a": record(frames=gops, sizes=sizes, init_size=init_size)})
    total = sum(gops)
    index.path(0).parent.mkdir()
    index.path(0).write_bytes(bytes([255] * init_size) + bytes(np.repeat(np.arange(total), 3).astype(np.uint8)))

    frames = data.draw(st.lists(st.integers(0, total - 1), min_size=1, max_size=16))
    clip = read_clip(index, 0, np.array(frames))
    assert clip.data[:init_size].tolist() == [255] * init_size
    held = clip.data[init_size:][::3].tolist()
    assert [held[frame] for frame in clip.frames] == frames
    gop_of = np.repeat(np.arange(len(gops)), gops)
    assert held == [f for f in range(total) if gop_of[f] in set(gop_of[frames])]
    assert clip.frames.dtype == np.int32
    assert clip.decoded == clip.frames.max() + 1


def test_adjacent_fragments_are_read_at_once(tmp_path, monkeypatch):
    index = Index.build(tmp_path, {"a": record(frames=(1,) * 6, sizes=(2, 3, 4, 5, 6, 7), init_size=4)})
    index.path(0).parent.mkdir()
    index.path(0).write_bytes(bytes(range(31)))
    reads = []
    preadv = os.preadv

    def record_reads(*arguments):
        reads.append(arguments[2])
        return preadv(*arguments)

    monkeypatch.setattr(os, "preadv", record_reads)
    clip = read_clip(index, 0, np.array([4, 0, 3]))
    assert clip.data.tolist() == [*range(6), *range(13, 24)]
    assert reads == [0, 13]  # the init segment with the first fragment, then two fragments


def test_frames_out_of_range_are_an_index_error(index):
    for frames in ([5], [-1], [0, 7], []):
        with pytest.raises(IndexError):
            read_clip(index, 2, np.array(frames, np.int64))


def test_missing_bytes_are_a_clip_error(index):
    with pytest.raises(ClipError, match=r"cannot read .*b.mp4: No such file"):
        read_clip(index, 2, np.array([0]))
    index.path(2).parent.mkdir(parents=True)
    index.path(2).write_bytes(bytes(20))
    assert len(read_clip(index, 2, np.array([0])).data) == 15
    with pytest.raises(ClipError, match=r"it ends at byte 20, 35 are expected"):
        read_clip(index, 2, np.array([0, 4]))


def test_another_working_directory_changes_neither_the_bytes_nor_the_messages(index, tmp_path, monkeypatch):
    index.save()
    index.path(2).parent.mkdir(parents=True)
    index.path(2).write_bytes(bytes(range(35)))
    monkeypatch.chdir(tmp_path.parent)
    opened = Index.load(tmp_path.name)
    monkeypatch.chdir("/")
    for moved in (opened.select([2]), opened.select([0, 2]).with_columns(class_names=("x", "y")).select([1])):
        assert str(moved.root) == tmp_path.name
        assert read_clip(moved, 0, np.array([0])).data.tolist() == [*range(15)]
    with pytest.raises(ClipError, match=f"^cannot read {tmp_path.name}/videos/jump/a.mp4: No such file"):
        read_clip(opened, 0, np.array([0]))


def test_a_copy_of_a_dataset_is_read_where_it_is(index, tmp_path):
    index.save()
    for root in (tmp_path, Path(os.path.relpath(tmp_path))):
        moved = replace(Index.load(root), root=tmp_path / "copy")
        assert moved.path(2) == tmp_path / "copy" / index.file(2)
