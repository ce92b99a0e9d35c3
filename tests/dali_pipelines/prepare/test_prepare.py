"""The prepare command: what it writes, and how it reports bad input."""

import csv
import json
import os
import re

import numpy as np
import pytest

from configs.errors import UserError
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.store.index import Index
from dali_pipelines.store.reader import read_clip
from tests.helpers.media import SHARED_MEDIA, make_video, read_video
from tests.helpers.prepared import SMALL, names, prepare, start, stored

pytestmark = pytest.mark.slow


def test_a_folder_becomes_a_dataset_with_the_classes_of_its_folders(videos, tmp_path, capsys):
    assert prepare(videos, "--out", tmp_path, "--gop", 8, *SMALL) == 0
    index = Index.load(tmp_path)
    assert names(index) == ["jump/c", "run/a", "run/deep/b.b"]
    assert index.class_names == ("jump", "run")
    assert index.labels.tolist() == [0, 1, 1]
    assert (index.info(1).num_frames, index.info(1).width, index.info(1).height) == (20, 48, 32)
    assert len(index.units(1).ends) == 3
    assert decode_rgb(read_clip(index, 2, np.array([19, 0]))).shape == (2, 32, 48, 3)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["index.npz", "prepare.jsonl", "quarantine.csv", "videos"]
    assert (tmp_path / "quarantine.csv").read_text().split() == ["path,reason"]
    printed = capsys.readouterr()
    assert "3 videos (3 stored now), 60 frames" in printed.out
    assert "mean GOP 6.7 frames, 3.0 fragments a video" in printed.out
    assert "sizes: 48x32 (3)" in printed.out
    assert f"60 frames, {60 / 25 / 60:.1f} minutes, " in printed.out
    now, before = (
        sum(path.stat().st_size for path in folder.rglob("[abc].*") if path.is_file()) for folder in (tmp_path, videos)
    )
    match = re.search(r"sources: .* MB, (\d+)% (.*)", printed.out)
    assert match
    percent, change = match.groups()
    assert change == ("saved" if now < before else "more now")
    assert int(percent) == pytest.approx(100 * abs(1 - now / before), abs=3)  # a file has some more bytes at its end
    assert "next:\n  clipfeed pretrain --config ctp/r3d18_kinetics --data-dir" in printed.out
    assert printed.err == ""  # no progress bar without a terminal


@pytest.mark.parametrize("codec", ["h264", "mjpeg", "rawvideo", "vp9", "hevc", "copy", "original"])
def test_clips_of_every_codec_look_like_the_source(videos, tmp_path, codec):
    sizes = {"hevc": ["--size", "192x160"], "copy": [], "original": []}
    size = sizes.get(codec, ["--short-side", "64"])
    assert prepare(videos / "run" / "a.mp4", "--out", tmp_path, "--codec", codec, "--workers", 1, *size) == 0
    index = Index.load(tmp_path)
    clip = decode_rgb(read_clip(index, 0, np.arange(4, 12)))
    width, height = index.info(0).width, index.info(0).height
    blurred = f"scale={width}:{height}:flags=area"
    source = read_video(videos / "run" / "a.mp4", blurred)[4:12]
    assert np.abs(clip.astype(int) - source).mean() < 12  # sharp colors of a test picture in 4:2:0
    assert np.abs(clip.astype(int) - read_video(videos / "run" / "a.mp4", blurred)[:8]).mean() > 12  # other frames


@pytest.mark.parametrize(
    ("options", "codec", "gop", "size"),
    [
        ([], "h264", 1, (192, 144)),
        (["--codec", "mjpeg"], "mjpeg", 1, (192, 144)),
        (["--codec", "rawvideo"], "rawvideo", 1, (192, 144)),
        (["--codec", "vp9"], "vp9", 16, (192, 144)),
        (["--codec", "hevc"], "hevc", 16, (208, 160)),
        (["--gop", 8], "h264", 8, (192, 144)),
    ],
)
def test_defaults_of_every_codec(tmp_path, options, codec, gop, size):
    source = make_video(tmp_path / "a.mp4", frames=33, size=(320, 240))
    assert prepare(source, "--out", tmp_path / "out", "--workers", 1, *options) == 0
    index = Index.load(tmp_path / "out")
    info = index.info(0)
    assert (index.codec(0), info.width, info.height) == (codec, *size)
    assert np.diff(index.units(0).frame_ends, prepend=0).tolist() == [gop] * (33 // gop) + [33 % gop] * (gop > 1)
    shown = read_video(tmp_path / "out" / "videos" / "a.mp4")
    assert shown.shape == (33, *size[::-1], 3)
    source_frames = read_video(source, f"scale={size[0]}:{size[1]}:flags=area")
    assert np.abs(shown.astype(int) - source_frames).mean() < 8  # sharp colors of a test picture in 4:2:0


def test_rounded_sizes_are_noted(videos, tmp_path, capsys):
    prepare(videos, "--out", tmp_path, "--size", "50x33", "--workers", 1)
    printed = capsys.readouterr().out
    assert "note: 50 pixels become 48, sides are multiples of 16" in printed
    assert "note: 33 pixels become 32, sides are multiples of 16" in printed
    assert {(info.width, info.height) for info in map(Index.load(tmp_path).info, range(3))} == {(48, 32)}


def test_only_new_changed_and_lost_videos_are_stored_again(videos, tmp_path, capsys):
    source = tmp_path / "source"
    for name in ("a", "b", "c", "d"):
        make_video(source / f"{name}.mp4", frames=10)
    (source / "bad.mp4").write_text("no video")
    out = tmp_path / "out"
    assert prepare(source, "--out", out, *SMALL) == 3
    before = stored(out)

    make_video(source / "b.mp4", frames=12)
    (out / "videos" / "c.mp4").write_bytes(b"cut off")
    (source / "d.mp4").unlink()
    make_video(source / "e.mp4", frames=10)
    capsys.readouterr()
    assert prepare(source, "--out", out, *SMALL) == 3
    assert "4 videos (3 stored now)" in capsys.readouterr().out  # the bad one is not retried
    index = Index.load(out)
    assert names(index) == ["a", "b", "c", "e"]
    assert index.num_frames.tolist() == [10, 12, 10, 10]
    after = stored(out)
    assert after["a.mp4"] == before["a.mp4"]
    assert after["b.mp4"] != before["b.mp4"]

    make_video(source / "bad.mp4", frames=10)  # repaired
    assert prepare(source, "--out", out, *SMALL) == 0
    assert "bad" in names(Index.load(out))


def test_other_settings_than_before_are_refused(videos, tmp_path):
    prepare(videos, "--out", tmp_path, *SMALL)
    with pytest.raises(UserError, match=r"was prepared with .*gop=1 .*, not .*gop=4 .*; give those options"):
        prepare(videos, "--out", tmp_path, "--gop", 4, *SMALL)


def test_a_dataset_with_old_defaults_continues_if_they_are_given(videos, tmp_path, capsys):
    before = {"codec": "vp9", "gop": 16, "crf": None, "short_side": 128, "size": None}
    (tmp_path / "prepare.jsonl").write_text(json.dumps(before) + "\n")
    with pytest.raises(UserError, match=r"was prepared with codec=vp9 gop=16 .*, not codec=h264 gop=1 "):
        prepare(videos, "--out", tmp_path)
    assert prepare(videos, "--out", tmp_path, "--codec", "vp9", "--short-side", 128, "--workers", 1) == 0
    assert "3 videos (3 stored now)" in capsys.readouterr().out


def test_bad_videos_are_quarantined_and_the_rest_usable(tmp_path, capsys):
    source = tmp_path / "source"
    make_video(source / "good.mp4", frames=20)
    make_video(source / "short.mp4", frames=1)
    (source / "a, b.mp4").write_text("no video")
    assert prepare(source, "--out", tmp_path / "out", *SMALL) == 3
    with (tmp_path / "out" / "quarantine.csv").open() as file:
        assert list(csv.reader(file)) == [
            ["path", "reason"],
            [str(source / "a, b.mp4"), "not a video file, or its header is damaged"],
            [str(source / "short.mp4"), "has only one frame, a clip needs motion"],
        ]
    assert "quarantined 2 of 3 videos, reasons in" in capsys.readouterr().out


def test_no_usable_video_names_the_first_reason(tmp_path):
    (tmp_path / "a.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"0 of 1 video can be used, see .*quarantine.csv; .*a.mp4: not a video"):
        prepare(tmp_path / "a.mp4", "--out", tmp_path / "out", *SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/gone"], "no such file or folder: .*/gone"),
        (["{tmp}/empty"], "no video files in .*/empty"),
        (["{videos}", "--out", "{tmp}/file"], "cannot write the dataset to .*/file: "),
        (["{videos}", "--out", "/proc/nothing"], "cannot write the dataset to /proc/nothing: "),
        (["{videos}", "--size", "100"], "--size '100' must be WIDTHxHEIGHT"),
        (["{videos}", "--size", "8x8"], "8 pixels is too small|0 pixels"),
        (["{videos}", "--codec", "mjpeg", "--gop", "8"], "gop 8: every frame of mjpeg is a key frame, leave it at 1"),
        (["{videos}", "--size", "9" * 5000 + "x16"], "--size '99+x16' must be WIDTHxHEIGHT"),
        (["{videos}", "--codec", "copy", "--gop", "4"], "--gop has no effect with --codec copy.* use --codec h264"),
        (["{videos}", "--codec", "original", "--short-side", "64"], "--short-side has no effect with --codec original"),
        (["{videos}", "--labels", "{tmp}/gone.csv"], r"--labels .*gone.csv.*: no such file; give folders, none, or"),
    ],
)
def test_bad_arguments_are_a_one_line_error(videos, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    arguments = [argument.format(tmp=tmp_path, videos=videos) for argument in arguments]
    with pytest.raises(UserError, match=message) as raised:
        prepare("--out", tmp_path / "out", *arguments)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out" / "index.npz").exists()


def test_the_command_exits_with_2_and_one_line(tmp_path):
    run = start(tmp_path / "gone", tmp_path / "out")
    output, errors = run.communicate()
    assert (run.returncode, output, errors.decode()) == (2, b"", f"error: no such file or folder: {tmp_path}/gone\n")


def test_an_output_inside_the_source_is_not_read_as_source(tmp_path):
    make_video(tmp_path / "a.mp4", frames=10)
    for out in (tmp_path, tmp_path, tmp_path.parent / f"{tmp_path.name}-link"):
        if not out.exists():
            out.symlink_to(tmp_path)
        assert prepare(tmp_path, "--out", out, *SMALL) == 0
        assert names(Index.load(out)) == ["a"]


def test_names_that_are_not_utf8_survive(tmp_path):
    odd = os.fsdecode(b"caf\xe9")
    make_video(tmp_path / "plain.mp4", frames=10)
    (tmp_path / "in").mkdir()
    os.rename(tmp_path / "plain.mp4", tmp_path / "in" / f"{odd}.mp4")
    (tmp_path / "in" / f"{odd}2.mp4").write_bytes(b"")
    for _ in range(2):
        assert prepare(tmp_path / "in", "--out", tmp_path / "out", *SMALL) == 3
    index = Index.load(tmp_path / "out")
    assert names(index) == [odd]
    assert len(decode_rgb(read_clip(index, 0, np.arange(3)))) == 3


def test_sources_of_equal_size_and_time_are_all_counted(tmp_path, capsys):
    """A program may write many videos with the same size and time."""
    for name in "ab":
        os.utime(make_video(tmp_path / "raw" / "run" / f"{name}.mp4", frames=20), (0, 0))
    prepare(tmp_path / "raw", "--out", tmp_path / "out", *SMALL)
    sizes = sum(path.stat().st_size for path in (tmp_path / "raw").rglob("*.mp4"))
    stored = sum(path.stat().st_size for path in (tmp_path / "out" / "videos").rglob("*.mp4"))
    match = re.search(r"sources: .* MB, (\d+)% (saved|more now)", capsys.readouterr().out)
    assert match
    assert int(match[1]) == pytest.approx(100 * abs(1 - stored / sizes), abs=5)
    assert match[2] == ("saved" if stored < sizes else "more now")


@pytest.mark.skipif(not SHARED_MEDIA.is_dir(), reason="needs the shared media")
@pytest.mark.parametrize(
    ("codec", "bad"), [("h264", 1), ("mjpeg", 1), ("rawvideo", 1), ("vp9", 1), ("copy", 3), ("original", 2)]
)
def test_real_clips_are_stored_or_quarantined(tmp_path, codec, bad, capsys):
    small = [] if codec in ("copy", "original") else ["--short-side", "64"]
    assert prepare(SHARED_MEDIA, "--out", tmp_path, "--codec", codec, "--labels", "none", *small) == 3
    index = Index.load(tmp_path)
    assert len(index) == 10 - bad
    for i in range(len(index)):
        frames = np.array([int(index.num_frames[i]) - 1, 0])
        assert decode_rgb(read_clip(index, i, frames)).shape == (2, *index.sizes_WH[i][::-1], 3)
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note: ")]
    # A text file, non-square pixels, rounded sides, two video streams.
    assert len(notes) == {"copy": 5, "original": 6}.get(codec, 4)
