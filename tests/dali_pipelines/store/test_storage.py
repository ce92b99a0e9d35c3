"""Storages: local files, and one that a test adds."""

from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store import storage
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.record import ClipError
from dali_pipelines.store.storage import Span
from dali_pipelines.tasks import Task, recognition
from tests.helpers.archives import Memory, memory_storage

BUCKET = "memory://bucket/data"


@pytest.fixture
def memory(vp9_store, monkeypatch) -> Memory:
    """Put the files of `vp9_store` at BUCKET in a new storage: one class and one line in the table."""
    memory, root = memory_storage(monkeypatch), Path(vp9_store.root)
    memory.files |= {
        f"{BUCKET}/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
    return memory


def test_index_and_reader_use_another_storage(vp9_store, memory):
    index = Index.load(BUCKET)
    assert index.names.texts() == vp9_store.names.texts()
    for row in (0, 11):
        frames = np.array([30, 2, 3, 30])
        there, here = read_clip(index, row, frames), read_clip(vp9_store, row, frames)
        assert there.data.tobytes() == here.data.tobytes()
        assert there.frames.tolist() == here.frames.tolist()
    locations = {location.removeprefix(f"{BUCKET}/") for location in memory.asked}
    assert locations == {"index.npz", *(f"videos/{vp9_store.names.text(row)}.mp4" for row in (0, 11))}


def test_batches_from_another_storage_equal_those_of_files(vp9_store, memory):
    task = Task("recognition", recognition.Config(num_frames=4, size=32))
    theirs, ours = (next(iter(ClipLoader(of, task, batch_size=4))) for of in (open_dataset(BUCKET), vp9_store))
    assert all((theirs[name] == ours[name]).all() for name in ours)


def test_storage_errors_are_clip_errors_naming_the_video(memory):
    index = Index.load(BUCKET)
    name = index.names.text(1)
    memory.files[f"{BUCKET}/videos/{name}.mp4"] = b"short"
    with pytest.raises(ClipError, match=rf"{name}.mp4: it is too short"):
        read_clip(index, 1, np.array([0]))
    del memory.files[f"{BUCKET}/videos/{name}.mp4"]
    with pytest.raises(ClipError, match=rf"{name}.mp4: No such file"):
        read_clip(index, 1, np.array([0]))


def test_a_url_without_storage_or_index_is_refused(memory):
    with pytest.raises(UserError, match="nowhere://x: there is no storage for nowhere://, only for what fsspec knows"):
        Index.load("nowhere://x")
    del memory.files[f"{BUCKET}/index.npz"]
    with pytest.raises(UserError, match="memory://bucket/data is no prepared dataset"):
        Index.load(BUCKET)


def test_spans_are_read_in_order(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    (tmp_path / "b").write_bytes(bytes(range(100, 200)))
    a, b = storage.joined(tmp_path, "a"), storage.joined("/elsewhere", str(tmp_path / "b"))
    files = storage.storage_of(a)
    assert files.size(a) == 100
    spans = [Span(a, 3, 5), Span(a, 90, 100), Span(b, 7, 8), Span(a, 0, 1)]
    assert files.read(spans).tolist() == [3, 4, *range(90, 100), 107, 0]
    with pytest.raises(OSError, match="it ends at byte 100, 101 are expected"):
        files.read([Span(a, 99, 101)])
    with pytest.raises(FileNotFoundError):
        files.size(storage.joined(tmp_path, "c"))


def test_touching_spans_are_merged(tmp_path):
    spans = [Span("a", 0, 3), Span("a", 3, 5), Span("a", 6, 8), Span("b", 8, 9)]
    assert storage.merged(spans) == [Span("a", 0, 5), Span("a", 6, 8), Span("b", 8, 9)]


def test_locations_are_joined_as_paths_or_urls():
    assert storage.joined("data", "videos/a.mp4") == "data/videos/a.mp4"
    assert storage.joined("s3://bucket/data/", "videos/a.mp4") == "s3://bucket/data/videos/a.mp4"
    assert storage.joined("data", "http://host/a.mp4") == "http://host/a.mp4"
    assert storage.joined("s3://bucket/data", "/local/a.mp4") == "/local/a.mp4"
