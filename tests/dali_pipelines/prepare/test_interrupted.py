"""The prepare command when something breaks mid-run, and how it resumes."""

import csv
import errno
import json
import os
import time

import numpy as np
import psutil
import pytest

from configs.errors import UserError
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.prepare.engines import ENGINES
from dali_pipelines.prepare.job import Failure, Job, store_video
from dali_pipelines.store.encode import Encoding
from dali_pipelines.store.files import temporary_path, video_path
from dali_pipelines.store.index import Index
from dali_pipelines.store.journal import Journal
from dali_pipelines.store.reader import read_clip
from dali_pipelines.workers import Crashed
from tests.helpers.media import make_video
from tests.helpers.prepared import SMALL, names, prepare, start, stored


def finished(out):
    """Return the journal's entries of finished videos."""
    lines = (out / "prepare.jsonl").read_bytes().splitlines(keepends=True) if (out / "prepare.jsonl").exists() else []
    return [line for line in map(json.loads, (line for line in lines if line.endswith(b"\n"))) if "name" in line]


@pytest.mark.slow
def test_a_killed_run_resumes_where_it_was(tmp_path, capsys):
    source, out = tmp_path / "source", tmp_path / "out"
    first = make_video(source / "v00.mp4", frames=150, size=(320, 240))
    for i in range(1, 12):
        os.link(first, source / f"v{i:02}.mp4")
    run = start(source, out)
    deadline = time.monotonic() + 60
    while len(finished(out)) < 3:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    helpers = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.communicate()
    assert psutil.wait_procs(helpers, timeout=20)[1] == []  # no orphan keeps writing

    with (out / "prepare.jsonl").open("ab") as journal:
        journal.write(b'{"name": "v11", "stamp": {"si')  # as left by a kill in mid-line
    entries = finished(out)
    before = stored(out)
    assert 3 <= len(entries) < 12
    assert not (out / "index.npz").exists()

    again = start(source, out)
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert f"12 videos ({12 - len(entries)} stored now)" in output.decode()
    index = Index.load(out)
    assert index.num_frames.tolist() == [150] * 12
    after = stored(out)
    assert all(after[f"{entry['name']}.mp4"] == before[f"{entry['name']}.mp4"] for entry in entries)
    assert sorted(after) == [f"v{i:02}.mp4" for i in range(12)]  # and no temporary file
    for i in range(12):
        assert decode_rgb(read_clip(index, i, np.array([0, 149]))).shape == (2, 32, 48, 3)

    assert prepare(source, "--out", out, *SMALL) == 0  # the partial line does no harm
    assert "(0 stored now)" in capsys.readouterr().out


def test_a_half_written_file_is_removed_also_if_its_source_is_gone_or_broken_by_now(tmp_path, spawned):
    source, out = tmp_path / "source", tmp_path / "out"
    for name in "gone", "broken", "fine":
        make_video(source / f"{name}.mp4", frames=4)
    prepare(source, "--out", out, *SMALL)
    (source / "gone.mp4").unlink()
    (source / "broken.mp4").write_bytes(b"no video")
    left = [temporary_path(video_path(out, name)) for name in ("gone", "broken")]
    for path in left:
        path.write_bytes(b"half a video")
    assert prepare(source, "--out", out, *SMALL) == 3
    assert not any(path.exists() for path in left)


def test_a_second_run_on_the_same_dataset_is_refused(videos, tmp_path):
    with Journal(tmp_path, {"codec": "copy"}), pytest.raises(UserError, match="another prepare run is writing"):
        prepare(videos, "--out", tmp_path, "--codec", "copy")


def test_a_damaged_journal_is_named(videos, tmp_path):
    prepare(videos, "--out", tmp_path, *SMALL)
    lines = (tmp_path / "prepare.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "prepare.jsonl").write_bytes(b"".join([lines[0], b"garbage\n", *lines[1:]]))
    with pytest.raises(UserError, match=r"prepare.jsonl is damaged .*delete it"):
        prepare(videos, "--out", tmp_path, *SMALL)


def test_a_video_that_crashes_the_decoder_is_quarantined(videos, tmp_path, monkeypatch):
    monkeypatch.setitem(
        ENGINES,
        "local",
        lambda function, jobs, workers: (
            (job, Crashed("SIGSEGV") if job.name == "jump/c" else function(job)) for job in jobs
        ),
    )
    assert prepare(videos, "--out", tmp_path, *SMALL) == 3
    assert names(Index.load(tmp_path)) == ["run/a", "run/deep/b.b"]
    with (tmp_path / "quarantine.csv").open() as file:
        assert list(csv.reader(file))[1:] == [
            [
                str(videos / "jump" / "c.webm"),
                "its process was killed twice, by SIGSEGV (the next run tries again: crash)",
            ]
        ]


def test_an_unexpected_error_is_a_one_line_reason(videos, tmp_path, monkeypatch):
    def fail(*_):
        raise RuntimeError("two\nlines")

    monkeypatch.setattr("dali_pipelines.prepare.job.write_video", fail)
    job = Job("a", videos / "run" / "a.mp4", tmp_path / "a.mp4", Encoding())
    assert store_video(job) == Failure("RuntimeError: two lines")


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", no_locks)
    with Journal(tmp_path, {"codec": "copy"}) as journal:
        journal.begin("a")
    with Journal(tmp_path, {"codec": "copy"}) as journal:
        assert journal.known == {"a"}
    assert f"{tmp_path} cannot be locked (Function not implemented)" in caplog.text
