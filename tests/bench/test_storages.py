"""The bench of storages: what it packs, what it counts, and a run of the command."""

import json
import sys
import zipfile

import numpy as np
import pytest

from bench.report import lead
from bench.storage_data import costs
from bench.storages import LMDB, PREPARED, main, pack
from configs.errors import UserError
from dali_pipelines.decode.packets import frames
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, recognition
from tests.helpers.archives import in_place
from tests.helpers.media import make_video, run_ffmpeg

pytestmark = pytest.mark.slow
FRAMES = 32
PICTURES = ("folders of JPEGs", "stored zips of JPEGs", "deflated zips of JPEGs", "tar of JPEGs", LMDB)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make two videos, one in a folder whose name FFmpeg would read as a pattern."""
    folder = tmp_path_factory.mktemp("sources")
    for name in "a", "50%d/b":
        make_video(folder / f"{name}.mp4", frames=FRAMES)
    return folder


@pytest.fixture(scope="module")
def packed(folder, tmp_path_factory):
    places, notes = pack([folder], tmp_path_factory.mktemp("packed"))
    assert not notes
    return places


@pytest.mark.parametrize("way", PICTURES)
def test_each_storage_holds_the_jpegs_of_ffmpeg(packed, folder, tmp_path, way):
    index = in_place(packed[way], root=tmp_path)
    assert index.names.texts() == ("50%d/b", "a")
    data = read_clip(index, 1, np.arange(FRAMES)).data.tobytes()
    assert data == run_ffmpeg("-i", folder / "a.mp4", "-q:v", "2", "-f", "image2pipe", "-c:v", "mjpeg", "-")


def test_the_tar_of_videos_holds_the_files(packed, folder, tmp_path):
    index = in_place(packed["tar of videos"], root=tmp_path)
    assert index.names.texts() == ("50%d/b", "a")
    ours, theirs = (read_clip(of, 1, np.arange(FRAMES)) for of in (in_place(folder, root=tmp_path), index))
    for one, other in zip(frames(ours), frames(theirs), strict=True):
        assert (one.to_ndarray() == other.to_ndarray()).all()


@pytest.mark.parametrize("way", ["tar of JPEGs", LMDB, "stored zips of JPEGs", "folders of JPEGs"])
def test_bytes_per_video_are_those_of_its_pictures_in_any_storage(packed, tmp_path, way):
    sizes = [path.stat().st_size for path in packed["folders of JPEGs"].rglob("*.jpg")]
    assert costs(in_place(packed[way], root=tmp_path), [])["kb_per_video"] == round(sum(sizes) / 2 / 1000, 1)


def test_bytes_per_clip_count_compressed_data(packed, tmp_path):
    task = Task("recognition", recognition.Config(num_frames=FRAMES, stride=1, size=32))
    sizes = []
    for path in packed["deflated zips of JPEGs"].rglob("*.zip"):
        with zipfile.ZipFile(path) as archive:
            sizes.append(sum(member.compress_size for member in archive.infolist()))
            assert sizes[-1] != sum(member.file_size for member in archive.infolist())
    figures = costs(in_place(packed["deflated zips of JPEGs"], root=tmp_path), [task])["tasks"]["recognition"]
    assert figures["kb_per_clip"] == round(np.mean(sizes) / 1000, 1)


def test_missing_lmdb_is_left_out_with_a_note(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "lmdb", None)
    places, (note,) = pack([folder], tmp_path)
    assert LMDB not in places
    assert note.startswith(f"left out: {LMDB}: ")
    assert "lmdb" in note


def test_pictures_are_refused_as_sources(packed, tmp_path):
    with pytest.raises(UserError, match="is no video file"):
        pack([packed["folders of JPEGs"]], tmp_path)


def test_one_video_is_refused(folder, tmp_path):
    with pytest.raises(UserError, match=r"a\.mp4 is the only video: give two or more"):
        pack([folder / "a.mp4"], tmp_path)


def test_the_ratio_is_the_median_of_per_round_ratios():
    assert lead({PREPARED: [1.0, 2.0, 10.0], "tar": [3.0, 4.0, 5.0]}, "tar", PREPARED) == 2.0


def test_the_command_compares_all_storages_and_cleans_up(folder, tmp_path, short_rounds, capsys):
    options = ["--batch-size", "2", "--batches", "1", "--rounds", "1", "--workers", "0"]
    main([str(folder), *options, "--work-dir", str(tmp_path / "work"), "--json", str(tmp_path / "f.json")])
    figures = json.loads((tmp_path / "f.json").read_text())["storages"]
    raw = f"{PREPARED} as raw video"
    assert {*figures} == {PREPARED, raw, "video files", "tar of videos", *PICTURES}
    assert all(of["clips_per_s"]["median"] > 0 < of["of_prepared"] for of in figures.values())
    assert figures[PREPARED]["of_prepared"] == 1
    assert f"| {LMDB} |" in capsys.readouterr().out
    assert not [*(tmp_path / "work").iterdir()]
