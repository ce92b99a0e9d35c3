"""The prepare command overwrites only its own files, and retries videos that failed for a passing cause."""

import os
import signal
import stat
import time

import psutil
import pytest

from configs.errors import UserError
from dali_pipelines.prepare.engines import ENGINES
from dali_pipelines.prepare.job import Failure
from dali_pipelines.store.index import Index
from dali_pipelines.workers import Crashed
from tests.helpers.media import make_video
from tests.helpers.prepared import SMALL, names, prepare, start

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("safety") / "video.mp4", frames=5)


@pytest.fixture
def place(video, tmp_path):
    """Return a function that copies a video to paths below the test's folder."""

    def make(*paths):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(video.read_bytes())

    return make


def contents(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(autouse=True)
def in_one_process(monkeypatch):
    monkeypatch.setitem(ENGINES, "local", run_in_process)


def run_in_process(function, jobs, workers):
    return ((job, function(job)) for job in jobs)


@pytest.mark.parametrize("sources", [["mine/videos/a.mp4"], ["mine/videos"], ["link"], ["link/a.mp4"]])
@pytest.mark.parametrize("codec", ["h264", "copy", "original"])
def test_sources_inside_the_dataset_are_refused(place, tmp_path, sources, codec):
    """They would be overwritten."""
    place("mine/videos/a.mp4", "mine/videos/b.mp4")
    (tmp_path / "link").symlink_to(tmp_path / "mine" / "videos")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=rf"{sources[0]} lies in .*mine/videos, where .*give another --out"):
        prepare(*(tmp_path / source for source in sources), "--out", tmp_path / "mine", "--codec", codec)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    "theirs", ["videos/a.mp4", "videos/other.mkv", "videos/deep/x.avi", "index.npz", "quarantine.csv"]
)
def test_files_unknown_to_the_journal_are_never_replaced(place, tmp_path, theirs):
    """The error names the file, and nothing is written."""
    place("raw/a.mp4", f"mine/{theirs}")
    before = contents(tmp_path)
    for _ in range(2):
        with pytest.raises(UserError, match=rf"mine/{theirs} was not made by .*: give another --out, or move it"):
            prepare(tmp_path / "raw", "--out", tmp_path / "mine", *SMALL)
    assert contents(tmp_path) == before


def test_files_added_to_the_dataset_later_are_not_replaced(place, tmp_path):
    """The same holds for a file behind a symlink to a folder."""
    place("raw/a.mp4", "theirs/b.mp4")
    out = tmp_path / "mine"
    assert prepare(tmp_path / "raw", "--out", out, *SMALL) == 0
    place("raw/b.mp4", "mine/videos/b.mp4")
    before = contents(tmp_path)
    with pytest.raises(UserError, match=r"videos/b.mp4 was not made by"):
        prepare(tmp_path / "raw", "--out", out, *SMALL)
    assert contents(tmp_path) == before
    (out / "videos" / "b.mp4").unlink()
    (tmp_path / "raw" / "b.mp4").unlink()
    (out / "videos" / "run").symlink_to(tmp_path / "theirs")
    place("raw/run/b.mp4")
    with pytest.raises(UserError, match=r"videos/run/b.mp4 was not made by"):
        prepare(tmp_path / "raw", "--out", out, *SMALL)
    assert contents(tmp_path / "theirs") == {
        tmp_path / "theirs" / "b.mp4": contents(tmp_path)[tmp_path / "raw" / "a.mp4"]
    }


def test_leftovers_of_a_killed_run_are_overwritten(place, tmp_path, monkeypatch):
    """A run remembers which videos were begun."""
    place("raw/a.mp4", "raw/b.mp4", "mine/videos/notes.txt")
    out = tmp_path / "mine"

    def kill_after_second_job(function, jobs, workers):
        for number, job in enumerate(jobs):
            result = function(job)
            if number:
                raise SystemExit("killed after b.mp4 was written and before the journal heard of it")
            yield job, result

    monkeypatch.setitem(ENGINES, "local", kill_after_second_job)
    with pytest.raises(SystemExit):
        prepare(tmp_path / "raw", "--out", out, *SMALL)
    assert (out / "videos" / "b.mp4").exists()
    monkeypatch.setitem(ENGINES, "local", run_in_process)
    assert prepare(tmp_path / "raw", "--out", out, *SMALL) == 0
    assert names(Index.load(out)) == ["a", "b"]


@pytest.mark.parametrize("cause", ["crash", "memory", "disk", "permission"])
def test_temporary_failures_are_retried(place, tmp_path, capsys, monkeypatch, cause):
    """The next run retries them and says how many; it does not retry a bad file."""
    place("raw/a.mp4", "raw/b.mp4")
    (tmp_path / "raw" / "bad.mp4").write_text("no video")
    out, tried = tmp_path / "out", []

    def failing(function, jobs, workers):
        for job in jobs:
            tried.append(job.name)
            failure = Crashed("SIGKILL") if cause == "crash" else Failure("out of luck", cause)
            yield job, failure if job.name == "a" else function(job)

    monkeypatch.setitem(ENGINES, "local", failing)
    for _ in range(2):
        assert prepare(tmp_path / "raw", "--out", out, *SMALL) == 3
        assert (
            f"1 video failed for a passing cause (1 {cause}): the same command tries again" in capsys.readouterr().out
        )
        assert f"(the next run tries again: {cause})" in (out / "quarantine.csv").read_text()
    assert tried == ["a", "b", "bad", "a"]
    monkeypatch.setitem(ENGINES, "local", run_in_process)
    assert prepare(tmp_path / "raw", "--out", out, *SMALL) == 3
    printed = capsys.readouterr().out
    assert "(1 stored now)" in printed
    assert names(Index.load(out)) == ["a", "b"]
    assert prepare(tmp_path / "raw", "--out", out, *SMALL) == 3
    assert "passing" not in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_retried_once_permitted(place, tmp_path):
    """Chmod 000, then 644."""
    place("raw/a.mp4", "raw/b.mp4")
    (tmp_path / "raw" / "a.mp4").chmod(0)
    assert prepare(tmp_path / "raw", "--out", tmp_path / "out", *SMALL) == 3
    (tmp_path / "raw" / "a.mp4").chmod(stat.S_IRUSR)
    assert prepare(tmp_path / "raw", "--out", tmp_path / "out", *SMALL) == 0


def test_stale_files_are_named_with_their_size(place, tmp_path, capsys):
    """This happens with two sources prepared in turn, renamed classes and removed videos."""
    place("train/run/a.mp4", "train/run/b.mp4", "val/jump/c.mp4", "val/run/d.mp4")
    out = tmp_path / "d"
    prepare(tmp_path / "train", "--out", out, *SMALL)
    assert "of earlier runs" not in capsys.readouterr().out
    prepare(tmp_path / "val", "--out", out, *SMALL)
    size = sum((out / "videos" / "run" / name).stat().st_size for name in ("a.mp4", "b.mp4")) / 1e6
    note = f"note: the dataset leaves out 2 files of earlier runs, {size:.1f} MB"
    printed = capsys.readouterr().out
    assert note in printed
    assert f"give all sources to one command; to free the space, delete {out}/videos/run/a.mp4, {out}/" in printed
    (tmp_path / "val" / "run").rename(tmp_path / "val" / "walk")
    prepare(tmp_path / "val", "--out", out, *SMALL)
    assert f"3 files of earlier runs, {3 * size / 2:.1f} MB" in (printed := capsys.readouterr().out)
    assert f"delete {out}/videos/run\n" in printed
    assert names(Index.load(out)) == ["jump/c", "walk/d"]


@pytest.mark.parametrize("url", ["s3://bucket/out", "https://host/out", "gs://bucket"])
def test_an_output_at_a_url_is_refused(place, tmp_path, url, monkeypatch):
    """No folder of that name is created."""
    place("raw/a.mp4")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=f"--out {url}: .* give the URL to the trainers as --data-dir"):
        prepare("raw", "--out", url)
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_notes_appear_once_with_a_count(place, tmp_path, capsys):
    """A note appears once, with the number of videos."""
    for name in ("a", "b"):
        make_video(tmp_path / "raw" / f"{name}.mp4", frames=3, size=(160, 120))
    prepare(tmp_path / "raw", "--out", tmp_path / "out")
    assert "note: 2 videos made wider or narrower by more than 2%" in capsys.readouterr().out


def test_one_ctrl_c_ends_the_command_even_if_workers_hang(tmp_path):
    """A terminal sends Ctrl-C to the workers too."""
    first = make_video(tmp_path / "raw" / "00.mp4", frames=60)
    for number in range(1, 60):
        os.link(first, tmp_path / "raw" / f"{number:02}.mp4")
    run = start(tmp_path / "raw", tmp_path / "out", 2, new_session=True)
    journal, deadline = tmp_path / "out" / "prepare.jsonl", time.monotonic() + 60
    while not (journal.exists() and b'"record"' in journal.read_bytes()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    children = psutil.Process(run.pid).children(recursive=True)
    workers = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    assert len(workers) == 2
    for worker in workers:
        worker.suspend()
    os.killpg(run.pid, signal.SIGINT)
    _, errors = run.communicate(timeout=30)
    assert run.returncode == 130
    assert errors.decode().splitlines()[-1] == "interrupted; the same command continues"
    assert "Traceback" not in errors.decode()
    assert psutil.wait_procs(workers, timeout=20)[1] == []
    assert not (tmp_path / "out" / "index.npz").exists()
