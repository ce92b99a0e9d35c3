"""Storages: local files, and one that a test adds."""

import pickle
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store import storage
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import ClipError, read_clip
from dali_pipelines.tasks import Task, recognition

FILES: dict[str, bytes] = {}


@dataclass(frozen=True)
class Memory:
    """The files below a URL, held in memory."""

    url: str
    asked: list[str] = field(default_factory=list)

    def size(self, path: str) -> int:
        if path not in FILES:
            raise FileNotFoundError(2, "No such file")
        return len(FILES[path])

    def read(self, path: str, ranges: list[tuple[int, int]]) -> np.ndarray:
        self.asked.append(path)
        if self.size(path) < ranges[-1][1]:
            raise OSError("it is too short")
        return np.frombuffer(b"".join(FILES[path][start:end] for start, end in ranges), np.uint8).copy()


@pytest.fixture
def memory(vp9_store, monkeypatch):
    """The files of `vp9_store` in the new storage: one class and one line in the table."""
    monkeypatch.setitem(storage.STORAGES, "memory", Memory)
    root = Path(vp9_store.root)
    contents = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    monkeypatch.setitem(globals(), "FILES", contents)
    return "memory://bucket/data"


def test_a_storage_is_one_class_behind_index_and_reader(vp9_store, memory):
    index = Index.load(memory)
    assert index.names.texts() == vp9_store.names.texts()
    for row in (0, 11):
        frames = np.array([30, 2, 3, 30])
        there, here = read_clip(index, row, frames), read_clip(vp9_store, row, frames)
        assert there.data.tobytes() == here.data.tobytes()
        assert there.frames.tolist() == here.frames.tolist()
    assert index.storage.asked == [f"videos/{vp9_store.names.text(row)}.mp4" for row in (0, 11)]


def test_batches_come_from_another_storage_as_from_files(vp9_store, memory):
    task = Task("recognition", recognition.Config(num_frames=4, size=32))
    theirs, ours = (next(iter(ClipLoader(of, task, batch_size=4))) for of in (open_dataset(memory), vp9_store))
    assert all((theirs[name] == ours[name]).all() for name in ours)


def test_what_a_storage_cannot_read_is_a_clip_error_that_names_the_video(memory):
    index = Index.load(memory)
    name = index.names.text(1)
    FILES[f"videos/{name}.mp4"] = b"short"
    with pytest.raises(ClipError, match=rf"{name}.mp4: it is too short"):
        read_clip(index, 1, np.array([0]))
    del FILES[f"videos/{name}.mp4"]
    with pytest.raises(ClipError, match=rf"{name}.mp4: No such file"):
        read_clip(index, 1, np.array([0]))


def test_a_url_without_a_storage_or_an_index_is_an_error_in_words(memory):
    with pytest.raises(UserError, match="nowhere://x: there is no storage for nowhere://, only memory"):
        Index.load("nowhere://x")
    del FILES["index.npz"]
    with pytest.raises(UserError, match="memory://bucket/data is no prepared dataset"):
        Index.load(memory)


def test_ranges_are_read_one_after_the_other(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(100)))
    files = pickle.loads(pickle.dumps(storage.storage_of(tmp_path)))
    assert files.size("a") == 100
    assert files.read("a", [(3, 5), (90, 100), (0, 1)]).tolist() == [3, 4, *range(90, 100), 0]
    assert storage.storage_of("/elsewhere").read(str(tmp_path / "a"), [(7, 8)]).tolist() == [7]
    with pytest.raises(OSError, match="it ends at byte 100, 101 are expected"):
        files.read("a", [(99, 101)])
    with pytest.raises(FileNotFoundError):
        files.size("b")
