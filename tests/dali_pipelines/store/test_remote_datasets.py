"""Datasets at URLs: clips and batches equal those on disk, and a failing server is handled like a failing disk."""

import shutil
import time
from itertools import islice

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines import feed
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.record import ClipError
from dali_pipelines.tasks import Task, recognition
from tests.helpers.http_files import served

pytestmark = pytest.mark.usefixtures("short_remote_waits")

TASK = Task("recognition", recognition.Config(num_frames=4, size=32))


def test_dataset_list_and_quarantine_are_read_from_a_url(tmp_path, vp9_store):
    root = shutil.copytree(vp9_store.root, tmp_path / "data")
    (root / "train.txt").write_text("class1/video03\nclass0/video10\nclass0/gone\n")
    (root / "quarantine.csv").write_text("path,reason\nhttp://elsewhere/class0/gone.mp4,too dark\n")
    with served(tmp_path) as files:
        there = open_dataset(f"{files.url}/data", f"{files.url}/data/train.txt")
        here = open_dataset(root, root / "train.txt")
        assert there.index.names.texts() == here.index.names.texts() == ("class1/video03", "class0/video10")
        assert there.quarantined == here.quarantined == {"class0/gone": "too dark"}
        assert f"{files.url}/data/quarantine.csv" in there.notes[0]
        clips = [read_clip(index, 1, np.array([30, 2, 3])) for index in (there.index, here.index)]
        assert clips[0].data.tobytes() == clips[1].data.tobytes()
        with pytest.raises(UserError, match=f"cannot read .*{files.url}/data/none.txt': there is no such file"):
            open_dataset(f"{files.url}/data", f"{files.url}/data/none.txt")
        with pytest.raises(UserError, match=f"cannot write to {files.url}/data"):
            there.index.save()


def test_unreadable_remote_videos_get_the_same_replacement_as_local_ones(tmp_path, vp9_store):
    root = shutil.copytree(vp9_store.root, tmp_path / "data")
    gone = vp9_store.names.text(2)
    with served(root) as files:
        files.fault = lambda path, n: 503 if gone in path else None
        with pytest.raises(ClipError, match=rf"cannot read {files.url}/videos/{gone}.mp4: its server answers 503"):
            read_clip(Index.load(files.url), 2, np.array([0]))
        theirs = ClipLoader(Index.load(files.url), TASK, batch_size=4)
        batches = list(theirs)
    (root / f"videos/{gone}.mp4").unlink()
    ours = ClipLoader(Index.load(root), TASK, batch_size=4)
    for one, other in zip(batches, ours, strict=True):
        assert all((one[name] == other[name]).all() for name in other)
    assert theirs.replaced_by == ours.replaced_by
    assert list(theirs.replaced_by) == [gone]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_remote_batches_equal_local_ones_and_are_read_ahead(vp9_store, workers, monkeypatch):
    def batches(root, count, workers=workers):
        made = ClipLoader(Index.load(root), TASK, batch_size=4, workers=workers, threads=1)
        try:
            return list(islice((batch for _ in range(9) for batch in made), count))
        finally:
            made.close()

    with served(vp9_store.root) as files:
        files.delay = 0.05
        ours, theirs = batches(vp9_store.root, 7, workers=0), batches(files.url, 7)
        ahead = files.most_at_once
        for one, other in zip(theirs, ours, strict=True):
            assert all((one[name] == other[name]).all() for name in other)
        monkeypatch.setattr(feed, "is_remote", lambda index: False)
        while files.open:  # requests of workers that have ended
            time.sleep(0.01)
        files.most_at_once = 0
        batches(files.url, 1)
        assert files.most_at_once <= 2 * max(workers, 1)  # each reads an init segment and a clip's fragments
        assert ahead >= 3 * max(workers, 1)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 1])
def test_a_server_lost_in_mid_run_ends_the_run_with_its_url(vp9_store, workers):
    with served(vp9_store.root) as files:
        made = ClipLoader(Index.load(files.url), TASK, batch_size=4, workers=workers, threads=1)
        next(iter(made))
    with pytest.raises(UserError, match=rf"{files.url}.*(cannot be reached|did not answer)"):
        list(islice((batch for _ in range(30) for batch in made), 60))
    made.close()
