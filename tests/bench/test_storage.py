"""The storage bench: its counts against counts by hand, the rule of its advice, and a run of the command."""

import json
import zipfile

import numpy as np
import pytest

from bench import meters
from bench.report import lead
from bench.storage import ORIGINAL, advise, main, stored_as
from bench.storage_data import DRAWS, costs, store_all_ways
from configs.errors import UserError
from dali_pipelines import prepare
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.tasks import Task, concepts, recognition, rot3d
from tests.helpers.archives import in_place, jpeg, pack
from tests.helpers.media import make_video

pytestmark = pytest.mark.slow

FRAMES = 60
VP9, MJPEG = "--codec vp9 --gop 4 --short-side 128", "--codec mjpeg --gop 1 --short-side 128"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make two videos of a codec whose packets `prepare` does not copy."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("a", "b"):
        make_video(folder / f"{name}.avi", codec="mpeg4", frames=FRAMES, size=(160, 128))
    return folder


@pytest.fixture(scope="module")
def bench(folder, tmp_path_factory):
    """Return the command's report and the folder with its stores."""
    out = tmp_path_factory.mktemp("storage")
    options = ["--codecs", "vp9", "mjpeg", "--gops", "4", "--short-sides", "128", "--task", "rot3d", "--device", "cpu"]
    options += ["--batch-size", "4", "--batches", "1", "--rounds", "1", "--threads", "2", "--workers", "0"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(meters, "WARM_UP", 1)
        main([str(folder), *options, "--work-dir", str(out), "--json", str(out / "storage.json")])
    return json.loads((out / "storage.json").read_text()), out


def test_every_setting_is_measured_and_unstorable_ones_are_named(bench):
    report, _ = bench
    assert list(report["stored"]) == [VP9, MJPEG, "--codec original"]
    assert len(report["notes"]) == 1
    assert "--codec copy" in report["notes"][0]
    assert "mpeg4" in report["notes"][0]
    for figures in report["stored"].values():
        assert figures["clips_per_s"]["min"] > 0
        assert figures["first_size"] == "160x128"
    assert [figures["decoder"] for figures in report["stored"].values()] == ["dali", "pyav", "pyav"]
    assert report["settings"]["videos"] == 2
    assert report["machine"]["cpu"]


def test_the_advice_is_a_valid_prepare_command(bench, folder, tmp_path):
    line = bench[0]["advice"]["128"].splitlines()[0]
    command, words = line.split(": ")[1].split(" SRC --out DIR ")
    assert command == "clipfeed prepare"
    assert words in (VP9, MJPEG)
    assert prepare.main([str(folder), "--out", str(tmp_path), "--labels", "none", *words.split()]) == 0


def test_bytes_per_video_match_the_files(bench, folder):
    report, out = bench
    sizes = [path.stat().st_size for path in (out / "codec_vp9_gop_4_short-side_128" / "videos").iterdir()]
    counted = report["stored"][VP9]["kb_per_video"]
    assert counted == pytest.approx(np.mean(sizes) / 1000, rel=0.02)  # without the end that only players need
    sizes = [path.stat().st_size for path in folder.iterdir()]
    assert report["stored"]["--codec original"]["kb_per_video"] == round(np.mean(sizes) / 1000, 1)


@pytest.mark.parametrize(("way", "gop"), [(VP9, 4), (MJPEG, 1), ("--codec original", FRAMES)])
def test_amplification_matches_a_slow_count(bench, vp9_store, way, gop):
    task = Task("rot3d", rot3d.Config())
    decoded = delivered = 0
    for epoch in range(DRAWS):
        for row in range(2):
            # A plan depends on frame size and count, which are the same in all stores here.
            video = vp9_store.info(row)
            video = type(video)(video.name, FRAMES, 160, 128, 25.0, -1)
            frames = task.plan(video, generator(0, Stream.SAMPLE, epoch, row))["frames"].tolist()
            earlier_gops = {frame // gop for frame in frames} - {max(frames) // gop}
            decoded += gop * len(earlier_gops) + max(frames) % gop + 1
            delivered += len(frames)
    assert bench[0]["stored"][way]["tasks"]["rot3d"]["amplification"] == round(decoded / delivered, 2)


def test_a_task_that_needs_longer_videos_is_not_counted(vp9_store):
    index = vp9_store.select(np.flatnonzero(vp9_store.num_frames < 50))
    task = Task("concepts", concepts.Config(num_frames=32))
    assert task.min_frames > index.num_frames.max()
    assert list(costs(index, [task, Task("rot3d", rot3d.Config())])["tasks"]) == ["rot3d"]


@pytest.mark.parametrize("way", ["zip stored", "zip deflated", "tar", "LMDB file"])
def test_bytes_of_packed_pictures_are_those_that_are_read(tmp_path, way):
    pictures = {name: [jpeg(seed, size=(192, 144), quality=95) for seed in range(32)] for name in "ab"}
    index = in_place(pack(way, tmp_path / "packed", pictures), root=tmp_path)
    sizes = [sum(map(len, of)) for of in pictures.values()]
    if way == "zip deflated":
        sizes = []
        for path in (tmp_path / "packed").iterdir():
            with zipfile.ZipFile(path) as archive:
                sizes.append(sum(member.compress_size for member in archive.infolist()))
    figures = costs(index, [Task("recognition", recognition.Config(num_frames=32, stride=1, size=32))])
    assert figures["kb_per_video"] == figures["tasks"]["recognition"]["kb_per_clip"] == round(np.mean(sizes) / 1000, 1)


def test_missing_sources_are_named_once(tmp_path):
    with pytest.raises(UserError, match=r"^no such file or folder"):
        store_all_ways([tmp_path / "nowhere"], ["--codec copy"], tmp_path)


WAYS = [stored_as("vp9", gop, 128) for gop in (1, 8, 32)]
A, B, C = WAYS


@pytest.mark.parametrize(
    ("sizes", "rates", "factor", "chosen"),
    [
        ((40, 15, 10), ([9, 9], [7, 7], [5, 5]), 2, B),  # the fastest takes four times the smallest size
        ((40, 15, 10), ([9, 9], [7, 7], [5, 5]), 4, A),
        ((18, 15, 10), ([9, 9], [7, 9], [5, 5]), 2, B),  # equally fast in one round, and smaller
        ((18, 15, 10), ([9, 9], [7, 8], [5, 5]), 2, A),
        ((18, 15, 10), ([9, 5], [5, 9], [7, 7]), 2, C),
    ],
)
def test_the_advice_is_the_fastest_within_budget_then_the_smallest(sizes, rates, factor, chosen):
    figures = {way: {"kb_per_video": size} for way, size in zip((A, B, C, ORIGINAL), (*sizes, 1), strict=True)}
    times = dict(zip((A, B, C, ORIGINAL), (*rates, [2.0, 2.0]), strict=True))
    text = advise(128, WAYS, figures, times, factor)
    assert chosen in text.splitlines()[0]
    assert "times the clips/s of the original files" in text
    assert "none of the settings" in advise(256, ["--codec mjpeg"], figures, times, factor)


def test_the_ratio_is_the_median_of_per_round_ratios():
    assert lead({A: [1.0, 2.0, 10.0], B: [3.0, 4.0, 5.0]}, B, A) == 2.0


def test_hevc_has_at_least_the_size_gpus_need():
    assert stored_as("hevc", 8, 128) == "--codec hevc --gop 8 --short-side 160"
    assert stored_as("hevc", 8, 256).endswith(" 256")
