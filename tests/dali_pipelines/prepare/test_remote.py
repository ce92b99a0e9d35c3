"""Sources at a URL give the same dataset as on disk: videos, pictures, zips, tars and LMDBs."""

import shutil
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines import lists
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.loader import ClipLoader
from dali_pipelines.prepare.engines import ENGINES
from dali_pipelines.store import remote
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.place import Place
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, recognition
from tests.helpers import http_files, s3_files
from tests.helpers.archives import in_place, write_lmdb, write_tar
from tests.helpers.media import make_video, run_ffmpeg
from tests.helpers.prepared import SMALL, prepare

pytestmark = pytest.mark.slow
FRAMES = 12


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Return a folder with videos, a folder and a zip of pictures in two classes, an LMDB, and tar shards of videos."""
    root = tmp_path_factory.mktemp("sources")
    video = make_video(root / "run" / "a video#1.mp4", frames=FRAMES, gop=4)
    for name in "run/50% pictures", "jump/zipped":
        (root / name).mkdir(parents=True)
        run_ffmpeg("-i", video, str(root / name).replace("%", "%%") + "/img_%05d.jpg")
    with zipfile.ZipFile(root / "jump" / "zipped.zip", "w") as file:
        for path in sorted((root / "jump" / "zipped").iterdir()):
            file.write(path, path.name, zipfile.ZIP_DEFLATED if path.name.endswith("3.jpg") else zipfile.ZIP_STORED)
    pictures = [path.read_bytes() for path in sorted((root / "jump" / "zipped").iterdir())]
    (root / "packed").mkdir()
    write_lmdb(root / "packed" / "all.lmdb", {"walk/in an LMDB": pictures, "walk/reversed": pictures[::-1]})
    shutil.rmtree(root / "jump" / "zipped")
    shutil.copy(video, root / "jump" / "b.mp4")
    (root / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(root / "shards" / f"{shard:03d}.tar", "w") as file:
            label = root / "label.txt"
            label.write_text(f"class{shard}")
            file.add(video, f"clip{shard}.mp4")
            file.add(label, f"clip{shard}.cls")
            label.unlink()
    return root


@pytest.fixture(scope="module", params=["http", "s3"])
def url(request, sources):
    patch = pytest.MonkeyPatch()
    served = http_files.served(sources) if request.param == "http" else s3_files.served(sources, patch)
    with served as server:
        yield server if isinstance(server, str) else server.url
    patch.undo()


def same_videos(theirs, ours):
    assert theirs.names.texts() == ours.names.texts()
    assert theirs.class_names == ours.class_names
    for name in ("labels", "num_frames", "sizes_WH", "fps"):
        assert (getattr(theirs, name) == getattr(ours, name)).all()
    frames = np.array([FRAMES - 1, 2, 3])
    for row in range(len(ours)):
        clips = [read_clip(index, row, frames) for index in (theirs, ours)]
        assert clips[0].data.tobytes() == clips[1].data.tobytes()


def test_remote_sources_left_in_place_equal_local_ones(url, sources):
    given = "run", "jump", "packed/all.lmdb"
    theirs, ours = (in_place(*(f"{root}/{name}" for name in given), root=Path()) for root in (url, sources))
    assert theirs.names.texts() == ("50% pictures", "a video#1", "b", "walk/in an LMDB", "walk/reversed", "zipped")
    assert all(theirs.location(row).startswith(url) for row in range(6))
    same_videos(theirs, ours)
    task = Task("recognition", recognition.Config(num_frames=4, size=32))
    batches = [next(iter(ClipLoader(index, task, batch_size=6, threads=1))) for index in (theirs, ours)]
    assert all((batches[0][name] == batches[1][name]).all() for name in batches[1])


def test_shards_are_expanded_from_braces_and_stars(url, sources):
    ours = in_place(*sorted((sources / "shards").iterdir()), root=Path())
    assert ours.class_names == ("class0", "class1")
    for pattern in "{000..001}.tar", "*.tar":
        same_videos(in_place(f"{url}/shards/{pattern}", root=Path()), ours)


def test_remote_videos_are_encoded_once_and_equal_local_ones(url, sources, tmp_path, capsys, spawned):
    assert prepare(f"{url}/run", "--out", tmp_path / "there", *SMALL) == 0
    assert prepare(sources / "run", "--out", tmp_path / "here", *SMALL) == 0
    same_videos(Index.load(tmp_path / "there"), Index.load(tmp_path / "here"))
    capsys.readouterr()
    assert prepare(f"{url}/run", "--out", tmp_path / "there", *SMALL) == 0
    assert "2 videos (0 stored now)" in capsys.readouterr().out


def test_an_lmdb_is_found_in_a_remote_folder(url, sources):
    theirs, ours = (in_place(f"{root}/packed", root=Path()) for root in (url, sources))
    assert theirs.names.texts() == ("walk/in an LMDB", "walk/reversed")
    assert {theirs.location(row) for row in range(2)} == {f"{url}/packed/all.lmdb"}
    same_videos(theirs, ours)


def test_a_remote_archive_is_asked_for_its_time_once_and_not_for_each_video(sources, tmp_path, spawned):
    """Once a request for each, one after the other, before the first was read."""
    video, asked = sources / "run" / "a video#1.mp4", []
    (tmp_path / "served").mkdir()
    for count in (1, 5):
        write_tar(tmp_path / "served" / "all.tar", {f"{number}.mp4": video.read_bytes() for number in range(count)})
        with http_files.served(tmp_path / "served") as server:
            out = ["--out", tmp_path / str(count), "--codec", "original", "--workers", "1"]
            assert prepare(f"{server.url}/all.tar", *out) == 0
            asked.append(sum(not of_bytes for _, of_bytes in server.asked))
    assert asked[0] == asked[1]


def test_pictures_of_a_remote_folder_are_asked_for_together(sources):
    """One after the other, 300 pictures of a server that takes 50 ms were half a minute, twice."""
    with http_files.served(sources) as server:
        server.delay = 0.1
        there = leave_in_place(Place(f"{server.url}/run/50%25%20pictures", "folder"))
        assert server.most_at_once > 1
    here = leave_in_place(sources / "run" / "50% pictures")
    assert tuple(there.fragments) == tuple(here.fragments)


def test_a_single_remote_file_is_found(url, tmp_path):
    (place,) = find_videos([f"{url}/jump/b.mp4"], outside=tmp_path).videos.values()
    assert place.location == f"{url}/jump/b.mp4"


def test_missing_remote_sources_are_named(url, tmp_path):
    for name in "none", "none.mp4":
        with pytest.raises(UserError, match=f"no such file or folder: {url}/{name}"):
            find_videos([f"{url}/{name}"], outside=tmp_path)
    with pytest.raises(UserError, match=r"jump/\*.tar: there are no such files"):
        find_videos([f"{url}/jump/*.tar"], outside=tmp_path)


def test_workers_read_dataset_and_list_from_a_bucket(vp9_store, tmp_path, monkeypatch, spawned):
    root = shutil.copytree(vp9_store.root, tmp_path / "data")
    (root / "train.txt").write_text("".join(f"{name}\n" for name in vp9_store.names.texts()[3:11]))
    task = Task("recognition", recognition.Config(num_frames=4, size=32))
    with s3_files.served(tmp_path, monkeypatch) as url:
        there = open_dataset(f"{url}/data", f"{url}/data/train.txt")
        theirs = ClipLoader(there, task, batch_size=4, workers=1, threads=1)
        got = list(theirs)
        theirs.close()
    for one, other in zip(got, ClipLoader(open_dataset(root, root / "train.txt"), task, batch_size=4), strict=True):
        assert all((one[name] == other[name]).all() for name in other)


def test_a_server_error_is_a_passing_cause_and_the_next_run_tries_again(sources, tmp_path, monkeypatch):
    monkeypatch.setattr(remote, "PAUSES", (0.0,))
    monkeypatch.setitem(ENGINES, "local", lambda function, jobs, workers: ((job, function(job)) for job in jobs))
    command = ["--out", tmp_path, "--codec", "original"]
    with http_files.served(sources) as server:
        server.fault = lambda path, n: 503 if path.endswith("b.mp4") else None
        assert prepare(f"{server.url}/jump", *command) == 3
        reason = (tmp_path / "quarantine.csv").read_text().splitlines()[1]
        assert reason.endswith("its server answers 503 (Service Unavailable) (the next run tries again: network)")
        server.fault = lambda path, n: None
        assert prepare(f"{server.url}/jump", *command) == 0
    assert Index.load(tmp_path).names.texts() == ("b", "zipped")


def test_labels_and_lists_are_read_from_a_url(url, sources, tmp_path, capsys, spawned):
    (sources / "labels.csv").write_text("a video#1,run\n50% pictures,walk\n")
    command = [sources / "run", "--out", tmp_path, "--codec", "original"]
    assert prepare(*command, "--labels", f"{url}/labels.csv") == 0
    assert Index.load(tmp_path).class_names == ("run", "walk")
    (tmp_path / "labels.txt").write_text("of the user")
    with pytest.raises(UserError, match=r"labels.txt is a list of yours"):
        lists.main(["auto", f"{url}/labels.csv", "--data-dir", str(tmp_path)])
    (tmp_path / "labels.txt").unlink()
    lists.main(["auto", f"{url}/labels.csv", "--data-dir", str(tmp_path)])
    assert (tmp_path / "labels.txt").read_text() == "a video#1\n50% pictures\n"
    with pytest.raises(UserError, match=f"cannot read the list of videos '{url}/none.csv': there is no such file"):
        prepare(*command, "--labels", f"{url}/none.csv")
