"""Which videos a search finds, what they are called, and how it reports what it skips."""

import os
import re
import socket
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.datasets import search
from dali_pipelines.datasets.discover import find_videos
from dali_pipelines.datasets.labels import read_labels
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.prepare import main
from dali_pipelines.store.in_place import leave_in_place
from dali_pipelines.store.index import Index
from dali_pipelines.store.listing import list_folder
from dali_pipelines.store.reader import read_clip
from dali_pipelines.store.source import Source, VideoError
from tests.helpers.archives import write_tar, write_zip
from tests.helpers.media import make_video, run_ffmpeg


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def found_in(*sources: Path | str, out: str = "/nowhere") -> tuple[list[str], tuple[str, ...]]:
    found = find_videos(sources, outside=Path(out))
    return list(found.videos), found.notes


def test_duplicate_names_are_refused_with_both_paths(tmp_path):
    touch(tmp_path / "x" / "a.mp4", tmp_path / "y" / "a.mp4")
    message = rf"named 'a.mp4': {tmp_path}/x/a.mp4 and {tmp_path}/y/a.mp4; give the folder that holds both"
    with pytest.raises(UserError, match=message):
        found_in(tmp_path / "x", tmp_path / "y")
    assert found_in(tmp_path) == (["x/a", "y/a"], ())


def test_a_given_file_needs_no_video_suffix_and_link_loops_end(tmp_path):
    touch(tmp_path / "strange.dat", tmp_path / "in" / "sub" / "a.MP4", tmp_path / "elsewhere" / "b.mkv")
    (tmp_path / "in" / "sub" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    assert found_in(tmp_path / "strange.dat", tmp_path / "in") == (["linked/b", "strange", "sub/a"], ())


def test_given_files_are_named_below_their_common_folder(tmp_path):
    touch(*(tmp_path / "gifs" / folder / f"{i}.gif" for folder in ("jump", "run") for i in (1, 2)))
    names, _ = found_in(*sorted(tmp_path.glob("gifs/*/*.gif")))
    assert names == ["jump/1", "jump/2", "run/1", "run/2"]
    assert found_in(*sorted(tmp_path.glob("gifs/run/*.gif")))[0] == ["1", "2"]
    assert found_in(tmp_path / "gifs")[0] == names


def test_files_that_differ_only_in_suffix_keep_it_in_their_names(tmp_path):
    touch(*(tmp_path / "v" / name for name in ("a.mp4", "a.webm", "b.mkv", "b.mp4", "c.mp4")))
    names, notes = found_in(tmp_path / "v")
    assert names == ["a.mp4", "a.webm", "b.mkv", "b.mp4", "c"]
    assert notes == ("videos that share 2 names get longer names: a, b",)


def test_archives_and_their_members_are_named_by_path(tmp_path):
    pictures = {f"{i}.jpg": b"x" for i in range(2)}
    (tmp_path / "zips" / "run" / "b").mkdir(parents=True)
    write_zip(tmp_path / "zips" / "run" / "v_a.b.zip", pictures)
    write_zip(tmp_path / "zips" / "run" / "b" / "RGB_frames.zip", pictures)
    write_zip(tmp_path / "zips" / "jump.zip", {f"{v}/{name}": data for v in "cd" for name, data in pictures.items()})
    write_tar(tmp_path / "zips" / "0.tar", {"e.mp4": b"x", "same.mp4": b"x", "same.cls": b"3"})
    write_tar(tmp_path / "zips" / "1.tar", {"same.mp4": b"x", "same.json": b'{"label": "run"}'})
    found = find_videos([tmp_path / "zips"], outside=tmp_path)
    assert list(found.videos) == [
        *("0/same.mp4", "1/same.mp4", "e", "jump/c", "jump/d", "run/b", "run/v_a.b"),
    ]
    assert found.labels == {"0/same.mp4": "3", "1/same.mp4": "run"}
    assert found_in(tmp_path / "zips" / "run" / "b" / "RGB_frames.zip")[0] == ["b"]
    assert found_in(tmp_path / "zips" / "jump.zip")[0] == ["c", "d"]
    assert found_in(*sorted((tmp_path / "zips").glob("r*/*.zip")), tmp_path / "zips" / "jump.zip")[0][-1] == "run/v_a.b"


def test_files_without_video_suffix_are_counted_by_suffix(tmp_path):
    touch(*(tmp_path / "v" / name for name in ("a.mp4", "x.txt", "y.TXT", "z.wav", "n_frames", ".hidden", "._a.mp4")))
    assert found_in(tmp_path / "v") == (
        ["a"],
        ("passed over 4 files without a video suffix: .txt (2), none (1), .wav (1)",),
    )


def test_hidden_folders_and_unfinished_downloads_are_skipped(tmp_path):
    touch(*(tmp_path / "v" / folder / "a.mp4" for folder in (".Trash-1000", ".ipynb_checkpoints", "@eaDir", "run")))
    touch(*(tmp_path / "v" / "run" / name for name in ("x.temp.mp4", "x.f137.mp4", "x.f251-drc.webm", "y.f.mp4")))
    names, notes = found_in(tmp_path / "v")
    assert names == ["run/a", "run/y.f"]
    v = tmp_path / "v"
    assert notes == (
        f"passed over 3 folders hidden or of another program: {v}/.Trash-1000, {v}/.ipynb_checkpoints, {v}/@eaDir",
        f"passed over 3 files that a download left unfinished: {v}/run/x.f137.mp4, {v}/run/x.f251-drc.webm, "
        f"{v}/run/x.temp.mp4",
    )


def test_a_link_to_a_folder_already_found_is_skipped_with_a_note(tmp_path):
    touch(tmp_path / "v" / "HandstandPushups" / "a.avi")
    (tmp_path / "v" / "HandStandPushups").symlink_to("HandstandPushups")
    names, (note,) = found_in(tmp_path / "v")
    assert names == ["HandstandPushups/a"]
    assert note.endswith(f"by its own name: {tmp_path}/v/HandStandPushups -> {tmp_path}/v/HandstandPushups")


@pytest.mark.parametrize("name", ["prepared", "deep/prepared2"])
def test_prepared_datasets_in_the_source_are_skipped(tmp_path, name):
    touch(tmp_path / "a.mp4", tmp_path / name / "index.npz", tmp_path / name / "videos" / "a.mp4")
    assert found_in(tmp_path, out=str(tmp_path / "o")) == (
        ["a"],
        (f"passed over 1 prepared dataset: {tmp_path / name}",),
    )
    with pytest.raises(UserError, match=f"no video files.*passed over 1 prepared dataset: {tmp_path / name}"):
        found_in(tmp_path / name)


def test_an_unreadable_folder_is_noted(tmp_path, monkeypatch):
    """The error is simulated, because the tests may run as root."""
    touch(tmp_path / "run" / "a.mp4", tmp_path / "secret" / "b.mp4")

    def refuse(location: str) -> list:
        if location.endswith("secret"):
            raise PermissionError(13, "Permission denied", location)
        return list_folder(location)

    monkeypatch.setattr(search, "list_folder", refuse)
    assert found_in(tmp_path) == (
        ["run/a"],
        (f"passed over 1 folder that cannot be read (Permission denied): {tmp_path}/secret",),
    )


def test_pipes_sockets_and_devices_are_never_opened(tmp_path, monkeypatch):
    touch(tmp_path / "a.mp4")
    os.mkfifo(tmp_path / "pipe.mp4")
    monkeypatch.chdir(tmp_path)  # a socket's address must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket.mp4")
    (tmp_path / "device.mp4").symlink_to("/dev/zero")
    names, notes = found_in(tmp_path)
    assert names == ["a"]
    assert notes == tuple(f"passed over 1 {kind}: {tmp_path}/{kind}.mp4" for kind in ("device", "pipe", "socket"))
    for kind in ("device", "pipe", "socket"):
        with pytest.raises(UserError, match=f"{kind}.mp4 is a {kind} and no file"):
            found_in(tmp_path / f"{kind}.mp4")
    os.mkfifo(tmp_path / "frames.pipe")
    pictures = tmp_path / "frames"
    pictures.mkdir()
    touch(pictures / "1.jpg", pictures / "3.jpg")
    os.mkfifo(pictures / "2.jpg")
    with pytest.raises(VideoError, match=r"its picture 2\.jpg is missing"):
        leave_in_place(pictures)


def test_only_broken_links_of_videos_are_quarantined(tmp_path):
    make_video(tmp_path / "v" / "a.mp4", frames=3)
    (tmp_path / "v" / "c.mp4").symlink_to("gone.mp4")
    (tmp_path / "v" / "notes").symlink_to("gone")
    assert found_in(tmp_path / "v") == (["a", "c"], (f"passed over 1 broken link: {tmp_path}/v/notes",))
    command = [str(tmp_path / "v"), "--out", str(tmp_path / "o"), "--codec", "original", "--workers", "1"]
    assert main(command) == 3
    assert (
        f"{tmp_path}/v/c.mp4,cannot be opened: No such file or directory" in (tmp_path / "o/quarantine.csv").read_text()
    )
    make_video(tmp_path / "v" / "gone.mp4", frames=3)
    assert main(command) == 0


def test_an_unreadable_archive_is_one_video_with_the_systems_error(tmp_path):
    write_zip(tmp_path / "a.zip", {f"{i}.jpg": b"x" for i in range(2)})
    (tmp_path / "b.zip").symlink_to("gone.zip")
    places = find_videos([tmp_path], outside=tmp_path / "out").videos
    assert list(places) == ["a", "b"]
    with pytest.raises(FileNotFoundError, match=r"b\.zip"):
        leave_in_place(places["b"])


def test_a_colon_in_a_name_is_not_a_url(tmp_path, monkeypatch):
    make_video(tmp_path / "act:run" / "x.mp4", frames=3).rename(tmp_path / "2021-01-01T10:30:00.mp4")
    make_video(tmp_path / "act:run" / "x.mp4", frames=3)
    monkeypatch.chdir(tmp_path)
    for source in (".", "2021-01-01T10:30:00.mp4", "act:run"):
        for place in find_videos([source], outside=tmp_path / "out").videos.values():
            assert leave_in_place(place).num_frames == 3
    assert leave_in_place(Path("2021-01-01T10:30:00.mp4")).num_frames == 3
    assert found_in(".")[0] == ["2021-01-01T10:30:00", "act:run/x"]


def test_split_folders_stay_in_the_names(tmp_path):
    touch(tmp_path / "train" / "run" / "a.mp4", tmp_path / "val" / "run" / "b.mp4")
    assert found_in(tmp_path)[0] == ["train/run/a", "val/run/b"]


SUFFIXES = {
    **{"3g2": "mpeg4", "apng": "apng", "divx": "mpeg4", "f4v": "h264", "gif": "gif", "h264": "h264", "hevc": "hevc"},
    **{"ivf": "vp8", "m1v": "mpeg1video", "m2v": "mpeg2video", "mjpeg": "mjpeg", "mpe": "mpeg1video"},
    **{"mxf": "mpeg2video", "nut": "mpeg4", "qt": "h264", "rm": "rv10", "y4m": "rawvideo"},
}
MUXERS = {"divx": "avi", "mpe": "mpeg", "qt": "mov", "f4v": "mp4"}


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_videos_of_every_common_suffix_decode(tmp_path, suffix):
    size = "352x288"  # RealVideo and MPEG support few sizes
    encoder = {"h264": "libx264", "hevc": "libx265", "vp8": "libvpx"}.get(SUFFIXES[suffix], SUFFIXES[suffix])
    source = tmp_path / "v" / f"a.{suffix}"
    source.parent.mkdir()
    form = ["-f", MUXERS[suffix]] if suffix in MUXERS else []
    test_source = f"testsrc2=size={size}:rate=25"
    pixels = ["-pix_fmt", "yuvj420p"] if suffix == "mjpeg" else []
    run_ffmpeg("-f", "lavfi", "-i", test_source, "-frames:v", "6", "-c:v", encoder, *pixels, *form, source)
    assert found_in(tmp_path / "v") == (["a"], ())
    with Source(source) as video:
        assert sum(1 for _ in video.frames()) in (5, 6)  # RealVideo's muxer loses one
    index = Index.build(tmp_path, {"a": leave_in_place(source)})
    assert decode_rgb(read_clip(index, 0, np.array([0, 4]))).shape == (2, 288, 352, 3)


def test_labels_from_archives_become_classes():
    assert read_labels("folders", ["a", "b", "c"], given={"a": "run", "c": "jump"})[:2] == (
        {"a": 1, "b": -1, "c": 0},
        ("jump", "run"),
    )
    assert read_labels("none", ["a"], given={"a": "run"})[:2] == ({"a": -1}, ())
    with pytest.raises(UserError, match="the class id 99999999 is not below 1000000"):
        read_labels("folders", ["a"], given={"a": "99999999"})


def test_labels_from_a_csv_file_are_ids_or_class_names(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("name,label\nx/a.avi,swim\nb,run\nc.d,swim\n")
    assert read_labels(str(path), ["x/a", "b", "c.d"])[:2] == ({"x/a": 1, "b": 0, "c.d": 1}, ("run", "swim"))
    path.write_text("x/a,3\nb,0\n")
    assert read_labels(str(path), ["x/a", "b"])[:2] == ({"x/a": 3, "b": 0}, ("0", "1", "2", "3"))
    assert read_labels("none", ["x/a"])[:2] == ({"x/a": -1}, ())
    assert read_labels("folders", ["x/a", "b"])[:2] == ({"x/a": 0, "b": -1}, ("x",))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,1\n", "has no label for 2 of the videos: b, c"),
        ("a,1\nb,1\nc,1\nx,1\ny.avi,2\n", "has labels for 2 videos that the sources do not hold: x, y"),
        ("a\n", "label, class, category ...); its first video is 'a'"),
        ("video_id,verb_class\na,3\nb,0\n", "; in a header, the column is called label, class, category ...)"),
    ],
)
def test_labels_that_do_not_match_the_videos_are_an_error(tmp_path, text, message):
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=re.escape(message)):
        read_labels(str(tmp_path / "labels.csv"), ["a", "b", "c"])
