"""Videos as folders of numbered pictures: which are accepted, what is stored, what is refused and why."""

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from configs.errors import UserError
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.prepare import main
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from tests.helpers.archives import numbered, write_pictures
from tests.helpers.media import make_video


def prepare(source: Path, out: Path, *more: str) -> int:
    return main([str(source), "--out", str(out), "--labels", "none", "--workers", "1", "--crf", "4", *more])


GOOD: dict[str, dict[str, Any]] = {
    "1": {"names": numbered(5)},
    "as gray": {"names": numbered(5), "mode": "L"},
    "deep/unpadded.v1": {"names": numbered(5, "img_{}.png", first=8)},
    "from 0": {"names": numbered(5, "{:03d}.JPG", first=0)},
    "100 %5d": {"names": numbered(5, "50%-{:02d}.jpeg", first=97)},
}
BAD = {
    "gap": ("its picture 00003.jpg is missing", lambda p: (p / "00003.jpg").unlink()),
    "half": ("its picture 00004.jpg does not decode", lambda p: os.truncate(p / "00004.jpg", 1500)),
    "empty": ("its picture 00005.jpg is empty", lambda p: os.truncate(p / "00005.jpg", 0)),
    "first": ("its picture 00001.jpg is empty", lambda p: os.truncate(p / "00001.jpg", 0)),
    "text": ("its picture 00002.jpg does not decode", lambda p: (p / "00002.jpg").write_text("hello" * 100)),
    "sizes": (
        "its picture 00005.jpg is 32x48, those before it 96x64",
        lambda p: write_pictures(p, ["00005.jpg"], size=(32, 48)),
    ),
    "depth": ("not one numbered series: 00001.jpg, depth_1.jpg", lambda p: write_pictures(p, ["depth_1.jpg"])),
    "cover": ("not one numbered series: 00001.jpg, cover.jpg", lambda p: write_pictures(p, ["cover.jpg"])),
    "one": ("has only one picture", lambda p: [path.unlink() for path in p.glob("0000[2-5].jpg")]),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """Write the folders of GOOD and BAD, and two that are not videos."""
    root = tmp_path_factory.mktemp("frames")
    for name, options in GOOD.items():
        write_pictures(root / name, **options)
    (root / "1" / "._00001.jpg").write_text("what another system leaves behind")
    (root / "1" / "n_frames").write_text("5")
    for name, (_, damage) in BAD.items():
        damage(write_pictures(root / name, numbered(5)))
    write_pictures(root / "covers", ["cover.jpg"])
    (root / "nothing").mkdir()
    return root


@pytest.fixture(scope="module")
def out(source, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("out")
    assert prepare(source, root) == 3
    return root


def test_folders_of_numbered_pictures_are_videos_named_by_their_path(out):
    index = Index.load(out)
    assert list(index.names.texts()) == sorted(GOOD)
    assert index.num_frames.tolist() == [5] * len(GOOD)
    assert {index.info(row).fps for row in range(len(index))} == {25.0}


@pytest.mark.parametrize("name", GOOD)
def test_pictures_are_frames_in_numeric_order(source, out, name):
    index = Index.load(out)
    stored = decode_rgb(read_clip(index, list(index.names.texts()).index(name), np.arange(5))).astype(int)
    pictures = [Image.open(source / name / file).convert("RGB") for file in GOOD[name]["names"]]
    distance = np.abs(stored[:, None] - np.array(pictures, int)[None]).mean((2, 3, 4))
    assert np.diag(distance).max() < 3
    assert (distance + 1000 * np.eye(5)).min() > 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_with_exif_are_stored_as_cameras_mean_them(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "a maker", orientation
    folder = write_pictures(tmp_path / "source" / "a", numbered(2), exif=exif)
    assert prepare(folder, tmp_path / "out") == 0
    stored = decode_rgb(read_clip(Index.load(tmp_path / "out"), 0, np.arange(2)))
    shown = [ImageOps.exif_transpose(Image.open(path)) for path in sorted(folder.iterdir())]
    assert np.abs(stored.astype(int) - np.array(shown, int)).mean() < 3


def test_a_picture_without_exif_is_upright_whatever_precedes_it(tmp_path, capsys):
    exif = Image.Exif()
    for number, exif[0x0112] in enumerate((3, 1, 6), start=1):
        write_pictures(tmp_path / "source" / "a", numbered(1, first=2 * number), exif=exif, size=(96, 96))
        write_pictures(tmp_path / "source" / "a", numbered(1, first=2 * number + 1), size=(96, 96))
    assert prepare(tmp_path / "source", tmp_path / "out") == 0
    stored = decode_rgb(read_clip(Index.load(tmp_path / "out"), 0, np.arange(6)))
    shown = [ImageOps.exif_transpose(Image.open(path)) for path in sorted((tmp_path / "source" / "a").iterdir())]
    assert np.abs(stored.astype(int) - np.array(shown, int)).mean((1, 2, 3)).max() < 3
    assert "change of size" not in capsys.readouterr().out


def test_pictures_that_only_exif_makes_portrait_are_noted(tmp_path, capsys):
    exif = Image.Exif()
    exif[0x0112] = 6
    write_pictures(tmp_path / "source" / "a", numbered(1), exif=exif)
    write_pictures(tmp_path / "source" / "a", numbered(1, first=2))
    assert prepare(tmp_path / "source", tmp_path / "out") == 0
    assert "1 video with a change of size midway" in capsys.readouterr().out


@pytest.mark.parametrize("name", BAD)
def test_incomplete_or_mixed_series_are_quarantined_with_a_reason(source, out, name):
    with (out / "quarantine.csv").open(newline="") as file:
        reasons = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    assert len(reasons) == len(BAD)
    assert BAD[name][0] in reasons[str(source / name)]


def test_only_changed_folders_are_stored_again(tmp_path, capsys):
    source, out = tmp_path / "source", tmp_path / "out"
    for name in ("a", "b", "c", "d"):
        write_pictures(source / name, numbered(4))
    (source / "d" / "00002.jpg").unlink()

    def stored_now(status: int) -> str:
        capsys.readouterr()
        assert prepare(source, out) == status
        return capsys.readouterr().out.split(": ", 1)[1].split(",")[0]

    assert stored_now(3) == "3 videos (3 stored now)"
    assert stored_now(3) == "3 videos (0 stored now)"
    picture = source / "b" / "00002.jpg"
    time = picture.stat().st_mtime_ns + 10**9
    os.utime(picture, ns=(time, time))  # as if rewritten in place: the folder keeps its own time
    (source / "c" / "00004.jpg").unlink()
    assert stored_now(3) == "3 videos (2 stored now)"
    assert Index.load(out).num_frames.tolist() == [4, 4, 3]
    write_pictures(source / "d", numbered(4))
    assert stored_now(0) == "4 videos (1 stored now)"


def test_frame_folders_and_videos_can_be_mixed(tmp_path):
    write_pictures(tmp_path / "frames" / "a", numbered(3))
    write_pictures(tmp_path / "both" / "b", numbered(3))
    write_pictures(tmp_path / "both" / "cover", ["cover.jpg"])
    make_video(tmp_path / "both" / "b" / "deep" / "c.mp4", frames=3)
    write_pictures(tmp_path / "both" / "d", numbered(3))
    make_video(tmp_path / "both" / "d" / "e.mp4", frames=3)
    found = find_videos([tmp_path / "frames", tmp_path / "both"], outside=tmp_path / "out")
    assert {name: place.kind for name, place in found.videos.items()} == {
        "a": "folder",
        "b": "folder",
        "b/deep/c": "file",
        "d/e": "file",
    }
    assert found.notes == (
        f"passed over 1 folder with pictures without numbers: {tmp_path}/both/cover",
        f"passed over 1 folder with pictures beside videos: {tmp_path}/both/d",
    )
    assert [*find_videos([tmp_path / "frames" / "a"], outside=tmp_path / "out").videos] == ["a"]


def test_color_frames_are_preferred_to_optical_flow(tmp_path, capsys):
    folder = write_pictures(tmp_path / "source" / "a", numbered(3, "img_{:05d}.jpg"))
    for axis in "xy":
        write_pictures(folder, numbered(2, f"flow_{axis}_{{:05d}}.jpg"), mode="L")
    assert main([str(folder.parent), "--out", str(tmp_path / "out"), "--codec", "original"]) == 0
    assert "note: 1 video with optical flow beside the pictures, which is passed over" in capsys.readouterr().out
    assert Index.load(tmp_path / "out").location(0) == str(folder / "img_00001.jpg")


def test_pictures_cannot_be_copied_into_a_video(tmp_path):
    folder = write_pictures(tmp_path / "source" / "a", numbered(3))
    with pytest.raises(UserError, match=f"{folder}: pictures cannot be copied, --codec original leaves them"):
        main([str(folder.parent), "--out", str(tmp_path / "out"), "--codec", "copy"])
