"""The loaders that ours is compared with: they make the same views, and wrong views are detected."""

import dataclasses
import functools
import io
import json
import zipfile
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image

from bench import data
from bench.loader import ours
from bench.loader.contenders import SOURCES
from bench.loader_throughput import main
from bench.machine import machine
from bench.peers import check, contenders, loaders
from bench.peers.contenders import batches_for, names_in, peer_contenders
from bench.peers.cost import jpeg_bytes, video_bytes
from bench.peers.data import decoded, encode_jpeg, equal_zip, peer_clips, peer_store, sources
from bench.peers.loaders import PEERS, Peer, peer_batches
from bench.peers.quality import equal_jpegs, mean_psnr
from bench.peers.torchvision import Torch
from dali_pipelines.decode.rgb import RgbConverter
from dali_pipelines.loader import ClipLoader
from dali_pipelines.prepare.settings import encoding_of
from dali_pipelines.store.convert import store_converter
from dali_pipelines.store.files import video_path
from dali_pipelines.tasks import Task, task_module
from tests.helpers.peers import skip_unless_installed

pytestmark = pytest.mark.slow

CEILINGS = ("decode_only", "decode_and_cut")
SMALL = ["--batches", "1", "--rounds", "1", "--device", "cpu"]
TASKS = ("recognition", "moco", "concepts", "cstp", "ctp", "rot3d")
"""One crop, two, four of different lengths, two bicubic ones; then tasks that do more than change colors."""
PAIRS = [
    (peer, name) for peer in PEERS for name in (TASKS if peer in ("pyav", "jpeg_zip") else ("recognition", "cstp"))
]
"""All tasks with one decoder per augmentation library; tasks of one and two views with the other decoders."""


@pytest.fixture(scope="module")
def peer_index(tmp_path_factory):
    """Prepare videos along with their H.264 files and JPEGs, as `loader_throughput` does by default."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "NUM_FRAMES", 34)
        folder = tmp_path_factory.mktemp("bench") / "peers_gop250"
        index, _ = (
            peer_store(folder / data.store_name(way), videos=4, settings=way)
            for way in map(encoding_of, ("h264", "rawvideo"))
        )
    equal_jpegs(index)
    return index


@pytest.fixture(autouse=True)
def check_two_samples(monkeypatch):
    """Compare only two samples: plans are fixed, so two tell right views from wrong ones."""
    monkeypatch.setattr(check, "CHECKED", 2)


def loader_of(index, name):
    return ClipLoader(index, Task(name, task_module(name).Config()), batch_size=2)


@pytest.fixture(scope="module")
def our_views(peer_index):
    """Return a function from a task's name to the views of its first samples."""

    @functools.cache
    def of_task(name):
        return check.our_views(loader_of(peer_index, name))

    return of_task


def test_prepared_jpegs_have_the_stored_size(peer_index):
    for peer, size in {"jpeg_zip": (340, 256), "jpeg_zip_prepared": (192, 144)}.items():
        clip = peer_clips(loader_of(peer_index, "recognition"), 0, 1, prepared=PEERS[peer].prepared)[0]
        with zipfile.ZipFile(clip.jpegs) as archive:
            assert len(archive.namelist()) == 34
            with archive.open("00000.jpg") as file, av.open(file) as picture:
                frame = next(picture.decode(video=0))
                assert (frame.width, frame.height) == size


@pytest.mark.usefixtures("short_rounds")
def test_peers_are_measured_next_to_ours_and_missing_ones_say_why(peer_index, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "DATA", peer_index.root.parents[1])
    monkeypatch.setattr(contenders, "limits", SimpleNamespace(cores=lambda: 0))
    absent = dataclasses.replace(PEERS["decord"], module="no_such_package")
    peers = {name: PEERS[name] for name in ("pyav", "jpeg_zip", "pyav_prepared", "jpeg_zip_prepared")}
    for module in (contenders, loaders):
        monkeypatch.setattr(module, "PEERS", peers | {"absent": absent})
    skip_unless_installed("cv2")
    file, options = tmp_path / "loader.json", [*SMALL, "--batch-size", "2", "--workers", "0", "--json"]
    main(["--peers", "--codec", "h264", "rawvideo", "--tasks", "rot3d", "evaluation", *options, str(file)])
    report = json.loads(file.read_text())
    groups = report["tasks"]["rot3d"]["contenders"]
    assert {group: set(found) for group, found in groups.items()} == {
        "h264": {"this_loader", *CEILINGS, "augment_only", "pyav_prepared", "jpeg_zip_prepared"},
        "rawvideo": {"this_loader", *CEILINGS, "pyav_prepared"},
        "sources": {"pyav", "jpeg_zip"},
    }
    assert "no_such_package" in report["tasks"]["rot3d"]["missing"]["sources"]["absent"]
    for store in ("h264", "rawvideo"):
        ratios = groups[store]["this_loader"]["ratios"]
        assert set(ratios) >= {*CEILINGS, "pyav", "jpeg_zip", "pyav_prepared", "jpeg_zip_prepared"}
    one = groups["h264"]["pyav_prepared"]
    assert one["difference_to_ours"] <= one["most_difference"]
    ratio = groups["h264"]["this_loader"]["ratios"]["pyav_prepared"]["median"]
    own, other = groups["h264"]["this_loader"]["clips_per_s"], one["clips_per_s"]  # rounded to tenths, and ratios not
    assert ratio == pytest.approx(own / other, rel=0.06 / own + 0.06 / other)
    # The same frames of the same files; ours reads the header too.
    header = peer_index.table.init_sizes[0] / 1024
    assert one["read_kib_per_clip"] + header == pytest.approx(
        groups["h264"]["this_loader"]["read_kib_per_clip"], rel=0.02
    )
    assert [*report["tasks"]["evaluation"]["contenders"]] == ["h264", "rawvideo"]  # no peers: its views share frames
    assert report["data"]["sources"] == {"gop": 250, "size": [340, 256], "jpeg_quality": 90}
    assert report["data"]["equal_jpegs"] == equal_jpegs(peer_index)
    printed = capsys.readouterr().out
    assert "| absent | sources | not measured: ModuleNotFoundError" in printed
    assert "| `rot3d` | rawvideo | " in printed
    assert file.with_suffix(".png").stat().st_size > 1000


def test_equal_jpegs_have_the_quality_nearest_to_the_store(peer_index):
    found = equal_jpegs(peer_index)
    scaled, names = store_converter(192, 144), [peer_index.info(row).name for row in range(4)]
    inputs = [as_rgb(scaled(frame)) for name in names for frame in decoded(sources(peer_index.root, name)[0])]
    stored = [as_rgb(frame) for name in names for frame in decoded(video_path(peer_index.root, name))]
    target = mean_psnr(inputs, stored)
    steps = [
        mean_psnr(inputs, [reread(picture, found["jpeg_quality"] + more) for picture in inputs]) for more in (-4, 0, 4)
    ]
    assert min(steps, key=lambda db: abs(db - target)) == steps[1]
    name = names[0]
    with zipfile.ZipFile(equal_zip(peer_index.root, name)) as archive:
        assert archive.read("00003.jpg") == encode_jpeg(inputs[3], found["jpeg_quality"])
    assert found["video_bytes_per_frame"] == pytest.approx(
        sum(file.stat().st_size for file in peer_index.root.rglob("*.mp4")) / (4 * 34), abs=1
    )


def as_rgb(frame):
    return np.stack(RgbConverter()(frame), axis=-1)


def reread(picture, quality):
    return np.asarray(Image.open(io.BytesIO(encode_jpeg(picture, quality))))


def test_mean_psnr_has_its_closed_form():
    black = np.zeros((8, 8, 3), np.uint8)
    assert mean_psnr([black], [black + 255]) == 0
    assert mean_psnr([black, black], [black + 1, black]) == pytest.approx((48.13 + 99) / 2, abs=0.01)


def test_clip_bytes_run_from_the_key_frame_to_the_last_frame(peer_index):
    video, jpegs = sources(peer_index.root, peer_index.info(0).name)
    with av.open(str(video)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [packet.is_keyframe for packet in packets].count(True) == 1  # B-frames: packets are not in display order
    assert [packet.pts for packet in packets] != sorted(packet.pts for packet in packets)
    last = max(range(len(packets)), key=lambda place: packets[place].pts)
    assert video_bytes(video, [33]) == sum(packet.size for packet in packets[: last + 1])
    assert video_bytes(video, [0]) == packets[0].size
    assert video_bytes(video, [0, 33, 33]) == video_bytes(video, [33])
    with zipfile.ZipFile(jpegs) as archive:
        assert jpeg_bytes(jpegs, [3, 5]) == len(archive.read("00003.jpg")) + len(archive.read("00005.jpg"))


def test_slow_peers_get_fewer_batches_but_whole_bursts():
    assert batches_for(100, 2) == 150
    assert batches_for(1, 2) == 6
    assert batches_for(1, 0) == 3
    assert batches_for(8.7, 2, most=16) == 12
    assert batches_for(100, 2, most=16) == 16
    assert batches_for(100, 64, most=12) == 192  # 12 would be timed as one burst of 64


def test_peers_are_grouped_by_the_files_they_read():
    names = [*PEERS]
    assert "torchcodec" in names_in(SOURCES, names, first=True)
    assert names_in("rawvideo", names, first=False) == [
        name for name in names_in("h264", names, first=True) if name != "jpeg_zip_prepared"
    ]
    assert set(names_in("h264", names, first=True)) == {name for name in names if name.endswith("_prepared")}


@pytest.mark.parametrize(("peer", "name"), PAIRS)
def test_each_installed_peer_makes_our_views(peer_index, our_views, peer, name):
    skip_unless_installed(PEERS[peer].module)
    loader = loader_of(peer_index, name)
    with peer_batches(PEERS[peer], peer_clips(loader, 0, 1), batch_size=2, workers=0, device="cpu") as batches:
        views = next(batches)
    program = loader.task.program
    assert [view.shape for view in views] == [(2, 3, view.length, program.size, program.size) for view in program.views]
    assert all(view.dtype == torch.float32 and abs(float(view.mean())) < 3 for view in views)
    assert check.difference(our_views(name), check.peer_views(PEERS[peer], loader)) <= check.MAX_DIFFERENCE


def moved(view):
    top, left, height, width = view.box
    left += 2 if left + width + 2 <= 340 else -2
    return dataclasses.replace(view, box=(top, left, height, width))


def changed(change):
    return lambda clip: PEERS["pyav"].views(dataclasses.replace(clip, views=[change(view) for view in clip.views]))


def without(*steps):
    """Return the torch library with some steps replaced by the identity."""
    return type("Without", (Torch,), {step: lambda _, frames, *given: frames for step in steps})


UNCOLORED = Peer("av", PEERS["pyav"].views, without("scale", "mix"))
WRONG = {
    "mirrored": Peer("av", changed(lambda view: dataclasses.replace(view, mirror=not view.mirror))),
    "moved": Peer("av", changed(moved)),
    "early": Peer("av", changed(lambda view: dataclasses.replace(view, frames=[max(n - 1, 0) for n in view.frames]))),
    "BGR": Peer("av", lambda clip: [torch.as_tensor(view).flip(1) for view in PEERS["pyav"].views(clip)]),
}
WRONG_TASKS = {
    **dict.fromkeys(TASKS, WRONG),
    "concepts": WRONG | {"uncolored": UNCOLORED},
    "ctp": WRONG | {"uncolored": UNCOLORED, "unpasted": Peer("av", PEERS["pyav"].views, without("paste"))},
    "rot3d": WRONG | {"upright": Peer("av", PEERS["pyav"].views, without("rotate"))},
}


@pytest.mark.parametrize("name", TASKS)
def test_peers_with_wrong_views_are_not_measured(peer_index, our_views, monkeypatch, name):
    monkeypatch.setattr(contenders, "PEERS", WRONG_TASKS[name])
    monkeypatch.setattr(contenders, "our_views", lambda loader: our_views(name))
    made, missing = peer_contenders(loader_of(peer_index, name), group=SOURCES, names=WRONG_TASKS[name])
    assert made == []
    assert set(missing) == set(WRONG_TASKS[name])
    assert all("differ from ours by" in reason for reason in missing.values())


@pytest.mark.parametrize("peer", PEERS)
def test_a_repeated_frame_appears_in_both_places(peer_index, peer):
    skip_unless_installed(PEERS[peer].module)
    (clip, *_) = peer_clips(loader_of(peer_index, "recognition"), 0, 1, prepared=PEERS[peer].prepared)
    (view,) = clip.views
    twice = dataclasses.replace(view, frames=[7, 3, 7, 5])
    once = dataclasses.replace(view, frames=[3, 5, 7])
    shown, expected = (PEERS[peer].views(dataclasses.replace(clip, views=[frames]))[0] for frames in (twice, once))
    assert torch.equal(torch.as_tensor(shown), torch.as_tensor(expected)[[2, 0, 2, 1]])


def test_machine_lists_the_installed_peers():
    cv2 = pytest.importorskip("cv2")
    versions = machine()["versions"]
    assert isinstance(versions, dict)
    found = [version for name, version in versions.items() if name.startswith("opencv")]
    assert [version[: len(cv2.__version__)] for version in found] == [cv2.__version__]


def test_worker_counts_are_powers_of_two_up_to_the_cores(monkeypatch):
    for cores, counts in {1: [0, 1], 2: [0, 1, 2], 12: [0, 1, 2, 4, 8, 12]}.items():
        monkeypatch.setattr(ours.limits, "cores", lambda cores=cores: cores)
        assert ours.worker_counts() == counts
