"""Tar shards: their contents, clips equal to those of loose files, and no video lost when a process dies."""

import errno
import json
import os
import random
import shutil
import signal
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import webdataset

from configs.errors import UserError
from dali_pipelines.loader import ClipLoader
from dali_pipelines.prepare.shards import Packer, finish_moves, member_key
from dali_pipelines.store.index import Index
from dali_pipelines.store.journal import Journal
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, recognition
from tests.helpers.media import make_video
from tests.helpers.prepared import SMALL, names, prepare, start

pytestmark = pytest.mark.slow

ODD = os.fsdecode(b"caf\xe9 100%")
NAMES = ["run/v.1", "run/v.2", "run/deep/b", "jump/a.b.c", "jump/a", f"jump/{ODD}", "alone", f"run/{'long' * 40}"]
LIMIT = "60kB"  # two or three videos a shard


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("source")
    first = make_video(root / f"{NAMES[0]}.mp4", frames=12)
    second = make_video(root / f"{NAMES[1]}.mp4", frames=14)
    for i, name in enumerate(NAMES[2:]):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(second if i % 2 else first, root / f"{name}.mp4")
    return root


@pytest.fixture(scope="module")
def loose(source, tmp_path_factory) -> Index:
    """Return the videos as loose files; tests must not change them."""
    root = tmp_path_factory.mktemp("loose")
    assert prepare(source, "--out", root, *SMALL) == 0
    return Index.load(root)


@pytest.fixture
def out(loose, tmp_path) -> Path:
    """Copy the loose dataset."""
    return shutil.copytree(loose.root, tmp_path / "out")


@pytest.fixture(scope="module")
def packed(loose, source, tmp_path_factory) -> Index:
    """Return the same videos in shards; tests must not change them."""
    root = shutil.copytree(loose.root, tmp_path_factory.mktemp("packed") / "out")
    assert prepare(source, "--out", root, *SMALL, "--shards", LIMIT) == 0
    return Index.load(root)


def shards(root) -> list[Path]:
    return sorted((root / "shards").glob("*"))


def loose_files(root) -> list[Path]:
    return [path for path in (root / "videos").rglob("*") if path.is_file()]


def videos_in(path) -> dict[str, bytes]:
    """Return key -> bytes of the videos in a tar."""
    with tarfile.open(path) as tar:
        files = {m.name[:-4]: tar.extractfile(m) for m in tar if m.name.endswith(".mp4")}
        return {name: file.read() for name, file in files.items() if file}


def assert_whole(root, loose) -> None:
    """Assert that each video is in exactly one shard and nowhere else, with the bytes of the loose dataset."""
    found = [item for path in shards(root) for item in videos_in(path).items()]
    assert sorted(found) == sorted(
        (member_key(name), loose.path(i).read_bytes()) for i, name in enumerate(names(loose))
    )
    assert loose_files(root) == []


def all_frames(index, i):
    return read_clip(index, i, np.arange(int(index.num_frames[i])))


def test_clips_from_shards_have_the_bytes_of_loose_files(loose, packed):
    assert names(packed) == names(loose)
    assert packed.labels.tolist() == loose.labels.tolist()
    for i in range(len(loose)):
        for frames in (np.array([0]), np.array([7, 3, 3, 11]), np.arange(12)):
            ours, theirs = read_clip(packed, i, frames), read_clip(loose, i, frames)
            assert ours.data.tobytes() == theirs.data.tobytes()
            assert ours.fragments == theirs.fragments
            assert ours.init_size == theirs.init_size > 0
            assert ours.frames.tolist() == theirs.frames.tolist()


def test_batches_from_shards_are_bit_identical(loose, packed):
    task = Task("recognition", recognition.Config(num_frames=4))
    ours, theirs = (list(ClipLoader(index, task, batch_size=2, seed=3)) for index in (packed, loose))
    assert len(ours) == len(theirs) == len(NAMES) // 2
    assert ours[0]["clips"].std() > 0
    assert all(torch.equal(a[key], b[key]) for a, b in zip(ours, theirs, strict=True) for key in b)


def test_every_video_is_in_one_shard_within_the_size_limit(loose, packed):
    assert_whole(packed.root, loose)
    assert [path.name for path in shards(packed.root)] == [f"{i:06d}.tar" for i in range(len(shards(packed.root)))]
    assert len(shards(packed.root)) > 2
    assert all(path.stat().st_size <= 60_000 for path in shards(packed.root))


def test_a_video_larger_than_a_shard_gets_its_own(out, source, loose):
    assert prepare(source, "--out", out, *SMALL, "--shards", "1kB") == 0
    assert_whole(out, loose)
    assert len(shards(out)) == len(NAMES)


def test_webdataset_reads_videos_with_their_classes(loose, packed):
    urls = [str(path) for path in shards(packed.root)]
    samples = {sample["__key__"]: sample for sample in webdataset.WebDataset(urls, shardshuffle=False)}
    assert len(samples) == len(NAMES)
    for i, name in enumerate(names(loose)):
        sample = samples[member_key(name)]
        assert sample["mp4"] == loose.path(i).read_bytes()
        assert sample.get("cls") == (None if name == "alone" else b"%d" % loose.labels[i])


def die_at(step: int, root: Path, work) -> int:
    """Run `work` in a fork that dies after `step` file operations under `root`; return its exit status."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    left = step

    def count(event, arguments):
        nonlocal left
        if event in ("open", "os.rename", "os.remove", "os.mkdir") and str(arguments[0]).startswith(str(root)):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    try:
        work()
        os._exit(0)
    except BaseException:
        os._exit(1)


def test_a_kill_at_any_file_operation_loses_and_leaves_nothing(loose, tmp_path):
    settings = json.loads((loose.root / "prepare.jsonl").read_text().splitlines()[0])
    labels = dict(zip(names(loose), loose.labels.tolist(), strict=True))

    def pack(root: Path) -> None:
        with Journal(root, settings) as journal:
            finish_moves(root, journal)
            packer = Packer(root, journal, labels, 60_000)
            packer.add_loose(journal.entries)
            packer.flush()

    for step in range(1000):
        root = shutil.copytree(loose.root, tmp_path / str(step))
        status = die_at(step, root, lambda root=root: pack(root))
        with Journal(root, settings) as journal:
            finish_moves(root, journal)
            records = {name: entry.record for name, entry in journal.entries.items() if entry.record}
            held = {source: [*videos] for source, videos in journal.shards.items() if videos}
        assert [f"shards/{path.name}" for path in shards(root)] == sorted(held), f"step {step}"
        assert len(loose_files(root)) + sum(map(len, held.values())) == len(NAMES), f"step {step}"
        index = Index.build(root, records)
        for i in range(len(loose)):
            assert all_frames(index, i).data.tobytes() == all_frames(loose, i).data.tobytes(), f"step {step}"
        pack(root)
        assert_whole(root, loose)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        shutil.rmtree(root)
    assert status == 0
    assert step > 3 * len(NAMES)  # at least: read a video, remove it; begin, write, move and read each shard


def test_random_kills_lose_and_duplicate_no_video(source, loose, tmp_path):
    moments, kills = random.Random(7), 0
    for _ in range(3):
        run = start(source, tmp_path, 1, "--shards", LIMIT)
        journal, lines = tmp_path / "prepare.jsonl", moments.randrange(1, 8)
        begun = journal.read_bytes().count(b"\n") if journal.exists() else 0
        while run.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < begun + lines):
            time.sleep(0.001)
        kills += run.poll() is None
        run.kill()
        run.communicate()
    assert kills > 1
    assert prepare(source, "--out", tmp_path, *SMALL, "--shards", LIMIT) == 0
    assert_whole(tmp_path, loose)
    index = Index.load(tmp_path)
    assert [all_frames(index, i).data.tobytes() for i in range(len(index))] == [
        all_frames(loose, i).data.tobytes() for i in range(len(loose))
    ]


def test_dead_bytes_of_changed_and_lost_videos_are_counted(out, source, loose, tmp_path, capsys):
    own_source = shutil.copytree(source, tmp_path / "mine")
    prepare(own_source, "--out", out, *SMALL, "--shards", LIMIT)
    before = {path.name: path.read_bytes() for path in shards(out)}
    make_video(own_source / "jump" / "a.mp4", frames=20)
    (own_source / "alone.mp4").unlink()
    capsys.readouterr()
    assert prepare(own_source, "--out", out, *SMALL, "--shards", LIMIT) == 0
    printed = capsys.readouterr().out
    dead = sum(loose.path(names(loose).index(name)).stat().st_size for name in ("jump/a", "alone"))
    assert f"note: {dead / 1e6:.1f} MB in the shards are dead, 2 videos changed or gone since" in printed
    index = Index.load(out)
    assert names(index) == sorted({*NAMES} - {"alone"})
    assert all_frames(index, names(index).index("jump/a")).decoded == 20
    assert all(path.read_bytes() == before[path.name] for path in shards(out)[:-1])
    assert len(shards(out)) == len(before) + 1
    assert loose_files(out) == []


def test_outdated_classes_in_shards_are_noted(out, source, tmp_path, capsys):
    prepare(source, "--out", out, *SMALL, "--shards", LIMIT)
    capsys.readouterr()
    prepare(source, "--out", out, *SMALL, "--labels", "none")
    assert f"note: the shards' .cls files have an outdated class for {len(NAMES) - 1} videos" in capsys.readouterr().out


def test_the_videos_of_a_lost_shard_are_stored_again(out, source, loose, capsys):
    prepare(source, "--out", out, *SMALL, "--shards", LIMIT)
    lost = len(videos_in(shards(out)[0]))
    shards(out)[0].unlink()
    capsys.readouterr()
    assert prepare(source, "--out", out, *SMALL, "--shards", LIMIT) == 0
    assert f"({lost} stored now)" in capsys.readouterr().out
    assert_whole(out, loose)


def test_a_full_disk_is_named_and_loses_nothing(out, source, loose, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "addfile", full)
        with pytest.raises(UserError, match=r"cannot write .*shards/000000.tar: No space left on device; the same"):
            prepare(source, "--out", out, *SMALL, "--shards", LIMIT)
    assert len(loose_files(out)) == len(NAMES)
    assert prepare(source, "--out", out, *SMALL, "--shards", LIMIT) == 0
    assert_whole(out, loose)


def test_a_tar_that_prepare_did_not_make_is_not_overwritten(out, source):
    (out / "shards").mkdir()
    (out / "shards" / "000000.tar").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"shards/000000.tar is in the way, it is no shard of this dataset: move it"):
        prepare(source, "--out", out, *SMALL, "--shards", LIMIT)
    assert (out / "shards" / "000000.tar").read_bytes() == b"mine"


def test_videos_left_in_place_are_not_packed(source, tmp_path):
    with pytest.raises(UserError, match="--shards has no effect with --codec original"):
        prepare(source, "--out", tmp_path, "--codec", "original", "--shards", "1GiB")
