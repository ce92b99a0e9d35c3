"""Files are written completely or not at all, and errors name them."""

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.datasets.fates import write_reasons
from dali_pipelines.prepare.job import Failure, Job, store_video
from dali_pipelines.store import encoders
from dali_pipelines.store.encode import Encoding, write_video
from dali_pipelines.store.files import JOURNAL_FILE, Appended, replacing, temporary_path, write_csv, write_file
from dali_pipelines.store.index import Index
from dali_pipelines.store.journal import Entry, Journal, Stamp
from dali_pipelines.store.place import Place
from dali_pipelines.store.remux import copy_video
from tests.helpers.media import make_video

FULL = errno.ENOSPC


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_video(tmp_path_factory.mktemp("files") / "a.mp4", frames=6, size=(192, 160))


class Disk:
    """Replace `os` where a file is written; the disk is full after `room` bytes."""

    def __init__(self, room, error=FULL):
        self.room, self.error = room, error

    def __getattr__(self, name):
        return getattr(os, name)

    def write(self, descriptor, data):
        if self.room == 0:
            raise OSError(self.error, os.strerror(self.error))
        written = os.write(descriptor, data[: self.room])
        self.room -= written
        return written


CODECS = ["h264", "mjpeg", "rawvideo", "vp9", "hevc", "copy"]


@pytest.mark.parametrize("codec", CODECS)
def test_a_disk_full_at_any_byte_is_not_blamed_on_the_video(source, tmp_path, monkeypatch, codec):
    """FFmpeg's muxer closes a file on a full disk without an error."""
    how = "copy" if codec == "copy" else Encoding(codec, gop=16 if codec == "hevc" else 1)
    target = tmp_path / "o" / "a.mp4"
    job = Job("a", source, target, how)
    store_video(job)
    size = target.stat().st_size
    target.unlink()
    for room in (0, 1, 30, size // 3, size // 2, size - 300, size - 1):
        monkeypatch.setattr(encoders, "os", Disk(room))
        with pytest.raises(UserError, match=f"^cannot write {target}: No space left on device; the same command cont"):
            store_video(job)
        assert list((tmp_path / "o").iterdir()) == []
    monkeypatch.setattr(encoders, "os", Disk(size))
    assert not isinstance(store_video(job), Failure)


@pytest.mark.parametrize("what", ["journal", "index", "quarantine"])
def test_a_full_disk_names_the_file_and_keeps_the_old_one(source, tmp_path, monkeypatch, what):
    """The old file stays as well."""
    record = copy_video(tmp_path / "videos" / "a.mp4", source)
    index = Index.build(tmp_path, {"a": record})
    with Journal(tmp_path, {"codec": "copy"}) as kept:
        kept.add("a", Entry(Stamp(1, 2), record))
    index.save()
    write_reasons(tmp_path / "quarantine.csv", {})
    before = {path: path.read_bytes() for path in tmp_path.glob("*.*")}

    monkeypatch.setattr("dali_pipelines.store.files.os.fsync", full)
    if what == "journal":
        with Journal(tmp_path, {"codec": "copy"}) as kept:
            monkeypatch.setattr(kept._lines, "file", FullFile(kept._lines.file))
            with pytest.raises(
                UserError, match=r"cannot write .*/prepare.jsonl: No space left .* same command continues"
            ):
                kept.add("b", Entry(Stamp(1, 2), record))
    else:
        name, write = {
            "index": ("index.npz", index.save),
            "quarantine": ("quarantine.csv", lambda: write_reasons(tmp_path / "quarantine.csv", {"b": "bad"})),
        }[what]
        with pytest.raises(OSError, match=rf"No space left on device: '{tmp_path}/{name}'"):
            write()
    assert {path: path.read_bytes() for path in tmp_path.glob("*.*")} == before


def full(*_):
    raise OSError(FULL, os.strerror(FULL))


class FullFile:
    """A file that accepts half of a write, then fails; if `stuck`, that half cannot be truncated either."""

    def __init__(self, file, *, error=FULL, stuck=False):
        self.file, self.write, self.error, self.stuck = file, self._half, error, stuck

    def _half(self, data):
        self.write = self._fail
        if self.stuck:
            self.truncate = self._fail
        return self.file.write(data[: len(data) // 2])

    def _fail(self, *_):
        raise OSError(self.error, os.strerror(self.error))

    def __getattr__(self, name):
        return getattr(self.file, name)


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("stuck", [False, True])
def test_lines_are_appended_whole_or_not_at_all(tmp_path, error, stuck):
    path = tmp_path / "lines"
    path.write_text("first\n")
    lines = Appended(path)
    real = lines.file
    lines.file = FullFile(real, error=error, stuck=stuck)  # type: ignore[assignment]
    with pytest.raises(OSError, match=rf"{os.strerror(error)}: '{path}'") as raised:
        lines.add(b"second line\n")
    assert raised.value.errno == error
    assert path.read_text() == ("first\nsecond" if stuck else "first\n")
    lines.file = real
    lines.add(b"second line\n")
    lines.close()
    assert path.read_text() == "first\nsecond line\n"


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_write_errors_get_the_name_of_the_file(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def write():
        with replacing(path) as temporary:
            temporary.write_text("ne")
            raise OSError(error, os.strerror(error))

    with pytest.raises(OSError, match=rf"{os.strerror(error)}: '{path}'") as raised:
        write()
    assert raised.value.errno == error
    with pytest.raises(FileNotFoundError, match=r": '/nowhere/b'"), replacing(path):
        Path("/nowhere/b").read_text()
    assert [other.name for other in tmp_path.iterdir()] == ["a.txt"]
    assert path.read_text() == "old"


@pytest.mark.parametrize("error", [errno.EDQUOT, errno.EIO])
def test_write_errors_end_prepare_and_read_errors_do_not(source, tmp_path, monkeypatch, error):
    monkeypatch.setattr(encoders, "os", Disk(100, error))
    target = tmp_path / "o" / "a.mp4"
    with pytest.raises(UserError, match=f"^cannot write {target}: {os.strerror(error)}; the same command continues"):
        store_video(Job("a", source, target, Encoding()))
    monkeypatch.undo()

    def unreadable(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("dali_pipelines.store.storage.LocalFiles.read", unreadable)
    held = Place(str(source), member="a.mp4", parts=np.array([[0, source.stat().st_size, 0]]))
    found = store_video(Job("a", held, target, Encoding()))
    assert isinstance(found, Failure)
    assert found.passing == ("disk" if error == errno.EIO else "")


def test_users_files_named_like_temporary_ones_are_kept(tmp_path):
    """So are all other files next to the one that is written."""
    theirs = {tmp_path / name: name.encode() for name in ("a.txt.part", ".a.txt.part", "a.txt~", "a.part")}
    for path, content in theirs.items():
        path.write_bytes(content)
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text(str(1 / 0))
    assert (tmp_path / "a.txt").read_text() == "new"
    assert {path: path.read_bytes() for path in theirs} == theirs
    assert len(list(tmp_path.iterdir())) == 5


def test_a_file_with_the_longest_name_can_be_written(tmp_path):
    """The temporary name is short."""
    path = tmp_path / ("x" * 255)
    with replacing(path) as temporary:
        temporary.write_text("new")
    assert path.read_text() == "new"
    with pytest.raises(OSError, match=r"File name too long: .*xxx"), replacing(tmp_path / ("x" * 256)) as temporary:
        temporary.write_text("new")
    assert list(tmp_path.iterdir()) == [path]


def test_an_unused_journal_leaves_no_file(tmp_path):
    with Journal(tmp_path, {"codec": "copy"}):
        assert (tmp_path / JOURNAL_FILE).exists()  # and locked
    assert list(tmp_path.iterdir()) == []


def test_journal_knows_stored_and_begun_videos_but_not_failed_ones(tmp_path, source):
    record = write_video(tmp_path / "videos" / "a.mp4", source, Encoding())
    with Journal(tmp_path, {"codec": "h264"}) as first:
        first.add("a", Entry(Stamp(1, 2), record))
        first.add("b", Entry(Stamp(1, 2), None, "bad"))
        first.begin("c")
    with Journal(tmp_path, {"codec": "h264"}) as again:
        assert again.known == {"a", "c"}


def test_write_file_replaces_whole_or_keeps_the_old_file(tmp_path):
    write_file(tmp_path / "new" / "a.txt", "é\udcff")  # a name that is not UTF-8, as Python reads it
    assert (tmp_path / "new" / "a.txt").read_bytes() == b"\xc3\xa9\xff"
    write_file(tmp_path / "new" / "a.txt", b"\0")
    with pytest.raises(UnicodeEncodeError):
        write_file(tmp_path / "new" / "a.txt", "\ud800")
    assert [path.read_bytes() for path in (tmp_path / "new").iterdir()] == [b"\0"]


@pytest.mark.parametrize("first_fails", [False, True])
def test_writers_of_one_path_take_turns(tmp_path, first_fails):
    """The second waits until the first has renamed or removed its file."""
    path = tmp_path / "a.txt"
    with ThreadPoolExecutor() as pool:
        with suppress(ZeroDivisionError), replacing(path) as temporary:
            temporary.write_text("first, and longer")
            second = pool.submit(write_file, path, "second")
            with pytest.raises(TimeoutError):
                second.result(timeout=0.3)
            assert temporary.read_text() == "first, and longer"
            assert 1 / (not first_fails)
        second.result(timeout=60)
    assert path.read_text() == "second"
    assert list(tmp_path.iterdir()) == [path]


def test_a_finished_writer_leaves_the_next_ones_file_alone(tmp_path, monkeypatch):
    """One that begins right after the rename has a temporary file of the same name."""
    path, replace = tmp_path / "a.txt", os.replace

    def replace_and_let_the_next_begin(source, target):
        replace(source, target)
        Path(source).write_text("of the next")

    monkeypatch.setattr("dali_pipelines.store.files.os.replace", replace_and_let_the_next_begin)
    write_file(path, "of the first")
    assert path.read_text() == "of the first"
    assert temporary_path(path).read_text() == "of the next"


def test_a_file_that_a_killed_process_left_is_overwritten(tmp_path):
    path = tmp_path / "a.txt"
    temporary_path(path).write_text("half of a long one")
    write_file(path, "new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_csv_keeps_the_bytes_of_names_that_are_not_utf_8(tmp_path):
    write_csv(tmp_path / "a.csv", [("name", "class"), ("caf\udce9", "\xe9"), ('a, "b"', "line\nbreak")])
    assert (tmp_path / "a.csv").read_bytes() == b'name,class\r\ncaf\xe9,\xc3\xa9\r\n"a, ""b""","line\nbreak"\r\n'
