"""Features of prepared datasets and of raw videos, against a plain loop over frames of the FFmpeg binary."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from configs.errors import UserError
from configs.schema import Data
from dali_pipelines import prepare
from dali_pipelines.prepare import job
from dali_pipelines.prepare.job import Failure
from dali_pipelines.store.index import Index
from tests.helpers.checkpoints import write_checkpoint
from tests.helpers.crops import nearest_even, scaled_part
from tests.helpers.media import SHARED_MEDIA, make_video, read_video, run_ffmpeg
from tests.helpers.ranks import two_ranks
from tests.helpers.runs import ROOT
from trainers.commands.extract_features import main
from trainers.engine import checkpoint
from trainers.engine.distributed import Ranks
from trainers.evaluation.features import extract
from trainers.weights import read
from trainers.weights.export import export

pytestmark = pytest.mark.slow

MEAN, STD = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
REASONS = {
    "class1/cut": "not a video file, or its header is damaged",
    "class1/one": "has only one frame, a clip needs motion",
    "class1/text": "not a video file, or its header is damaged",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Make videos of several codecs and shapes in two classes, and a checkpoint."""
    folder = tmp_path_factory.mktemp("extract")
    make_video(folder / "videos" / "class0" / "a.mp4", frames=40)
    make_video(folder / "videos" / "class0" / "b.webm", codec="vp9", frames=33, size=(64, 96))
    make_video(folder / "videos" / "class1" / "c.avi", codec="mpeg4", frames=12, size=(160, 120))
    write_checkpoint(folder / "a.pt")
    return folder


@pytest.fixture(scope="module")
def broken(folder, tmp_path_factory) -> Path:
    """Make a copy of those videos with three unreadable ones."""
    root = tmp_path_factory.mktemp("broken") / "videos"
    shutil.copytree(folder / "videos", root)
    video = make_video(root / "class1" / "cut.mp4", frames=20)
    video.write_bytes(video.read_bytes()[:3000])
    make_video(root / "class1" / "one.mp4", frames=1)
    (root / "class1" / "text.mp4").write_text("not a video\n" * 100)
    return root


def features_of(folder: Path, out: Path, *args: object, status: int = 0, checkpoint: str = "a.pt") -> dict:
    """Run the command; return the arrays of its file."""
    fixed = ["--checkpoint", folder / checkpoint, "--out", out, "--workers", 0, "--device", "cpu"]
    assert main([*map(str, args), *map(str, fixed)]) == status
    with np.load(out, allow_pickle=False) as file:
        return dict(file)


def uniform(count: int, clips: int, length: int, stride: int) -> list[int]:
    """Return the first frames of evenly spaced clips (specs/ctp.md 0.2)."""
    spacing = (count - length * stride + 1) / clips
    return [int(spacing / 2 + spacing * k) if spacing > 0 else 0 for k in range(clips)]


def windows(count: int, span: int, step: int) -> list[int]:
    """Return the first frames of windows, the last of which ends with the video (specs/evaluation.md 1)."""
    return sorted({*range(0, max(count - span, 0) + 1, step), max(count - span, 0)})


def by_loop(net: torch.nn.Module, path: Path, starts, *, length: int, stride: int, crops=("center",)) -> np.ndarray:
    """Average a backbone's pooled features over views, one clip at a time; crops are 64 of 73 pixels."""
    frames = read_video(path, "scale=flags=bilinear+full_chroma_int+accurate_rnd", "format=rgb24")
    sides = frames.shape[1:3]
    scaled = [round(side * 73 / min(sides)) for side in sides]
    height, width = (side - 64 for side in scaled)
    places = {"center": (height // 2, width // 2), "first": (height // 2, 0), "last": (height // 2, width)}
    if height > width:
        places |= {"first": (0, width // 2), "last": (height, width // 2)}
    pooled = []
    for start in starts(len(frames)):
        numbers = [min(start + stride * t, len(frames) - 1) for t in range(length)]
        for crop in crops:
            rows, columns = (
                nearest_even(at * side / whole, 64 * side / whole, side)
                for at, side, whole in zip(places[crop], sides, scaled, strict=True)
            )
            levels = torch.from_numpy(scaled_part(frames[numbers], rows, columns, 64)).round().float()
            with torch.no_grad():
                pooled.append(net(((levels / 255 - MEAN) / STD).movedim(-1, 0)[None]).mean((0, 2, 3, 4)))
    return torch.stack(pooled).mean(0).numpy()


def assert_near(features: np.ndarray, expected: list[np.ndarray]) -> None:
    """Allow for pixels off by a gray level; a wrong frame or crop would differ a hundred times more."""
    np.testing.assert_allclose(features, np.stack(expected), rtol=0, atol=1e-3)


def test_features_of_unprepared_videos_match_a_plain_loop(folder, tmp_path, capsys):
    found = features_of(folder, tmp_path / "x.npz", folder / "videos", "--clips", 3)
    net = write_checkpoint(tmp_path / "a.pt")
    paths = [folder / "videos" / name for name in ("class0/a.mp4", "class0/b.webm", "class1/c.avi")]
    expected = [by_loop(net, path, lambda count: uniform(count, 3, 8, 2), length=8, stride=2) for path in paths]
    assert_near(found["features"], expected)
    assert found["features"].dtype == np.float32
    assert found["names"].tolist() == ["class0/a", "class0/b", "class1/c"]
    assert found["labels"].tolist() == [0, 0, 1]
    assert found["class_names"].tolist() == ["class0", "class1"]
    assert [len(found[name]) for name in ("unreadable", "reasons")] == [0, 0]
    settings = json.loads(str(found["settings"]))
    weights = read(folder / "a.pt")
    assert (settings["sha256"], settings["backbone"], settings["step"]) == (weights.sha256, "r3d_tiny", 6)
    assert (settings["views"]["stride"], settings["views"]["test"]["clips"]) == (2, 3)
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'x.npz'}: 64 features of 3 videos, 0 unreadable\n")


def test_windows_and_crops_of_a_dataset_match_a_plain_loop(vp9_store, folder, tmp_path):
    store = replace(vp9_store.select([3, 6, 11]), root=tmp_path / "store")  # one 160 x 192, two 192 x 160
    shutil.copytree(vp9_store.root / "videos", store.root / "videos")
    store.save()
    options = ("--clips", "windows", "--crops", "three", "--frames", 4, "--stride", 3)
    found = features_of(folder, tmp_path / "x.npz", store.root, *options)
    net = write_checkpoint(tmp_path / "a.pt")
    views: dict[str, Any] = {"length": 4, "stride": 3, "crops": ("first", "center", "last")}
    expected = [by_loop(net, store.path(row), lambda count: windows(count, 12, 5), **views) for row in range(3)]
    assert_near(found["features"], expected)
    assert found["names"].tolist() == ["class0/video06", "class1/video01", "class1/video11"]  # of 46, 41, 51 frames
    assert found["labels"].tolist() == [0, 1, 1]


def test_library_export_and_indexed_videos_give_identical_features(folder, tmp_path):
    (tmp_path / "data").mkdir()
    assert prepare.main([str(folder / "videos"), "--out", str(tmp_path / "data"), "--codec", "original"]) == 0
    found = features_of(folder, tmp_path / "x.npz", folder / "videos", "--clips", 2)
    export(read(folder / "a.pt"), folder / "a.safetensors")
    exported = features_of(folder, tmp_path / "y.npz", tmp_path / "data", "--clips", 2, checkpoint="a.safetensors")
    net = write_checkpoint(tmp_path / "a.pt")
    views = read(folder / "a.pt").views()
    views = replace(views, test=replace(views.test, clips=2))
    index, ranks = Index.load(tmp_path / "data"), Ranks(torch.device("cpu"))
    (called,) = extract([net], index, views, ranks, Data(root="", workers=0))
    for other in (exported["features"], called.values):
        np.testing.assert_array_equal(found["features"], other)
    np.testing.assert_array_equal(found["labels"], exported["labels"])


def test_the_order_of_the_sources_does_not_matter(folder, tmp_path):
    sources = [folder / "videos" / "class1", folder / "videos" / "class0" / "b.webm", folder / "videos" / "class0"]
    one, other = (
        features_of(folder, tmp_path / "x.npz", *order, "--clips", 1) for order in (sources, reversed(sources))
    )
    assert one["names"].tolist() == ["a", "b", "c"]
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


def test_unreadable_videos_are_named_and_do_not_affect_others(folder, broken, tmp_path, capsys):
    whole = features_of(folder, tmp_path / "x.npz", folder / "videos", "--clips", 1)
    found = features_of(folder, tmp_path / "y.npz", broken, "--clips", 1, status=3)
    assert found["names"].tolist() == ["class0/a", "class0/b", "class1/c", *REASONS]
    np.testing.assert_array_equal(found["features"][:3], whole["features"])
    assert np.isnan(found["features"][3:]).all()
    assert found["labels"].tolist() == [0, 0, 1, 1, 1, 1]
    assert dict(zip(found["unreadable"].tolist(), found["reasons"].tolist(), strict=True)) == REASONS
    output = capsys.readouterr()
    assert [line for line in output.err.splitlines() if line.startswith("unreadable: ")] == [
        f"unreadable: {name}: {reason}" for name, reason in REASONS.items()
    ]
    assert output.out.endswith("64 features of 6 videos, 3 unreadable\n")


def test_a_video_damaged_after_prepare_is_named(own_store, folder, tmp_path):
    os.truncate(own_store.path(3), 600)
    found = features_of(folder, tmp_path / "x.npz", own_store.root, "--clips", 2, status=3)
    assert found["unreadable"].tolist() == [own_store.info(3).name]
    assert str(own_store.path(3)) in found["reasons"].item()
    assert np.isnan(found["features"]).all(1).nonzero()[0].tolist() == [3]
    assert len(found["names"]) == 12


def test_two_ranks_write_the_same_file_as_one(folder, broken, tmp_path):
    one = features_of(folder, tmp_path / "x.npz", broken, "--clips", 2, status=3)
    options = (broken, "--checkpoint", folder / "a.pt", "--workers", 0, "--clips", 2, "--out", tmp_path / "y.npz")
    statuses, output = two_ranks(ROOT / "clipfeed.py", tmp_path, "features", *options, "--device", "cpu")
    assert statuses == [3, 3]
    assert output.count("64 features of 6 videos, 3 unreadable") == 1
    assert output.count("unreadable: class1/text: not a video file") == 1
    assert (tmp_path / "rank1.out").read_text() == ""
    with np.load(tmp_path / "y.npz", allow_pickle=False) as two:
        assert set(two.files) == set(one)
        for name in one:
            if name == "features":
                np.testing.assert_allclose(two[name], one[name], rtol=1e-5, atol=1e-6)
            else:
                np.testing.assert_array_equal(two[name], one[name])
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []


def test_rotated_phone_videos_have_the_features_of_upright_ones(folder, tmp_path):
    """Its rotation tag is ignored by decoders but not by players."""
    videos = tmp_path / "videos"
    sideways = make_video(videos / "lying.mp4", frames=20, size=(96, 64))
    run_ffmpeg("-display_rotation", "90", "-i", sideways, "-c", "copy", videos / "phone.mp4")
    run_ffmpeg("-i", videos / "phone.mp4", "-crf", "4", videos / "upright.mp4")  # FFmpeg rotates it
    found = features_of(folder, tmp_path / "x.npz", videos, "--clips", 1)
    features = dict(zip(found["names"].tolist(), found["features"], strict=True))
    assert found["unreadable"].tolist() == []

    def distance(a: str, b: str) -> float:
        return float(np.linalg.norm(features[a] - features[b]))

    assert distance("phone", "upright") < 0.2 * distance("phone", "lying")


def test_a_full_temporary_folder_is_named_with_the_way_out(folder, tmp_path, monkeypatch):
    def full_disk(target, *_):
        raise OSError(errno.ENOSPC, "No space left on device", str(target))

    monkeypatch.setattr(job, "write_video", full_disk)
    monkeypatch.setattr(job, "leave_in_place", lambda _: Failure("is turned", ""))  # so it is encoded
    options = ["--checkpoint", str(folder / "a.pt"), "--out", str(tmp_path / "x.npz"), "--workers", "0"]
    with pytest.raises(UserError, match=r"cannot write .*clipfeed-.*: No space left on device; set TMPDIR to a folder"):
        main([str(folder / "videos"), *options])


def test_features_that_are_not_finite_are_no_unreadable_videos(folder, tmp_path):
    content = checkpoint.read(folder / "a.pt")
    content["model"]["backbone.stem.0.weight"].fill_(3e38)
    checkpoint.write(tmp_path / "large.pt", content)
    out, options = tmp_path / "x.npz", ["--workers", "0", "--device", "cpu"]
    with pytest.raises(UserError, match="features of 3 of 3 videos are not finite, the first class0/a: the network's"):
        main([str(folder / "videos"), "--checkpoint", str(tmp_path / "large.pt"), "--out", str(out), *options])
    assert not out.exists()


@pytest.mark.skipif(not SHARED_MEDIA.is_dir(), reason="no folder of real clips")
def test_real_clips_have_features_or_a_reason(folder, tmp_path):
    found = features_of(folder, tmp_path / "x.npz", SHARED_MEDIA, "--clips", 1, status=3)
    assert found["names"].tolist() == sorted(p.stem for p in SHARED_MEDIA.iterdir() if p.suffix != ".md")
    assert found["unreadable"].tolist() == ["corrupted"]
    assert np.isfinite(found["features"]).all(1).tolist() == [name != "corrupted" for name in found["names"]]
    net = write_checkpoint(tmp_path / "a.pt")
    path = SHARED_MEDIA / "ucf101_xvid_320x240.avi"
    expected = by_loop(net, path, lambda count: uniform(count, 1, 8, 2), length=8, stride=2)
    assert_near(found["features"][found["names"] == path.stem], [expected])


def test_unusable_sources_are_named(vp9_store, folder, tmp_path):
    (tmp_path / "text.mp4").write_text("not a video")
    fixed = ["--checkpoint", str(folder / "a.pt"), "--out", str(tmp_path / "x.npz"), "--workers", "0"]
    for sources, message in {
        (tmp_path / "gone",): "no such file or folder: .*gone",
        (vp9_store.root, folder / "videos"): "is a prepared dataset: give it alone",
        (tmp_path / "text.mp4",): "0 of 1 video can be read; .*text.mp4: not a video file",
        (ROOT / "configs",): "no video files in .*configs",
    }.items():
        with pytest.raises(UserError, match=message):
            main([*map(str, sources), *fixed])
    assert not (tmp_path / "x.npz").exists()


def test_invalid_options_are_refused_before_any_work(folder, tmp_path, capsys):
    needed = ["nowhere", "--checkpoint", str(folder / "a.pt"), "--out"]
    for options, message in {
        (str(tmp_path), ""): f"--out {tmp_path} is a folder: give the name of a file",
        (str(folder / "a.pt"), ""): f"--out {folder / 'a.pt'}: must end in .npz",  # it was replaced
        (str(tmp_path / "x.npz"), "--clips=0"): "argument --clips: '0' is no whole number from 1 to 1000",
        (str(tmp_path / "x.npz"), f"--stride={10**20}"): f"argument --stride: '{10**20}' is no whole number from 1 to ",
        (str(tmp_path / "x.npz"), "--clips=many"): "argument --clips: ",
        (str(tmp_path / "x.npz"), "--workers=-1"): "argument --workers: '-1' is no whole number from 0 to 1024",
    }.items():
        with pytest.raises(SystemExit, match="2"):
            main([*needed, *filter(None, options)])
        assert message in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*file.*; choose another --out"):
        main([*needed, str(tmp_path / "file" / "x.npz"), "--device", "cpu"])
    with pytest.raises(UserError, match=r"would take .* GiB, .* at most 16 are possible: take fewer or smaller frames"):
        main([*needed, str(tmp_path / "x.npz"), "--device", "cpu", "--frames", "1000000"])  # after decoding, it was
