"""The other loaders that ours is measured beside: they make the same views, those that do not are found out."""

import dataclasses
import functools
import json
import zipfile

import av
import pytest
import torch

from bench import data, loader_rounds
from bench.loader_throughput import main
from bench.machine import machine
from bench.peers import check, rounds
from bench.peers.data import peer_clips, peer_store
from bench.peers.loaders import PEERS, Peer, peer_batches
from bench.peers.rounds import Peers, best_workers, worker_counts
from bench.peers.torchvision import Torch
from dali_pipelines.loader import ClipLoader
from dali_pipelines.tasks import Task, task_module
from tests.helpers.peers import need

pytestmark = pytest.mark.slow

SMALL = ["--batches", "1", "--rounds", "1", "--device", "cpu"]
TASKS = ("recognition", "moco", "concepts", "cstp", "ctp", "rot3d")
"""One crop, two, four of different lengths, two bicubic ones; those that do more than to change colors."""
PAIRS = [
    (peer, name) for peer in PEERS for name in (TASKS if peer in ("pyav", "jpeg_zip") else ("recognition", "cstp"))
]
"""Every task with one decoder for each library that makes the rest of a view; one view and two with the others."""


@pytest.fixture(scope="module")
def peer_index(tmp_path_factory):
    """Prepared videos with their H.264 files and JPEGs beside them, as `loader_throughput` makes them by default."""
    settings = data.store_settings("mjpeg", None, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "NUM_FRAMES", 34)
        root = tmp_path_factory.mktemp("bench") / "peers_gop250" / "mjpeg_gop1_144"
        return peer_store(root, videos=4, source_gop=250, settings=settings)


@pytest.fixture(autouse=True)
def few_checked(monkeypatch):
    """Compare two samples: the plans are always the same, so that no right view fails and no wrong one passes."""
    monkeypatch.setattr(check, "CHECKED", 2)


def loader_of(index, name):
    return ClipLoader(index, Task(name, task_module(name).Config()), batch_size=2)


@pytest.fixture(scope="module")
def our_views(peer_index):
    """`our_views(name)` returns the views of a task's first samples."""

    @functools.cache
    def of_task(name):
        return check.our_views(loader_of(peer_index, name))

    return of_task


def test_the_prepared_jpegs_have_the_size_that_our_videos_are_stored_in(peer_index):
    for peer, size in {"jpeg_zip": (340, 256), "jpeg_zip_prepared": (192, 144)}.items():
        clip = peer_clips(loader_of(peer_index, "recognition"), 0, 1, prepared=PEERS[peer].prepared)[0]
        with zipfile.ZipFile(clip.jpegs) as archive:
            assert len(archive.namelist()) == 34
            with archive.open("00000.jpg") as file, av.open(file) as picture:
                frame = next(picture.decode(video=0))
                assert (frame.width, frame.height) == size


@pytest.mark.usefixtures("short_rounds")
def test_peers_are_measured_beside_ours_and_those_that_cannot_run_say_why(peer_index, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "DATA", peer_index.root.parents[1])
    monkeypatch.setattr(loader_rounds, "worker_counts", lambda cores: [0])
    absent = dataclasses.replace(PEERS["decord"], module="no_such_package")
    monkeypatch.setattr(rounds, "PEERS", {"pyav": PEERS["pyav"], "absent": absent})
    file, names = tmp_path / "loader.json", ("recognition", "rot3d")
    main(
        [
            "--peers",
            "--codec",
            "mjpeg",
            "--tasks",
            *names,
            "evaluation",
            "--batch-size",
            "2",
            *SMALL,
            "--json",
            str(file),
        ]
    )
    report = json.loads(file.read_text())
    for name in names:
        figures = report["tasks"][name]
        assert figures["peers"]["pyav"]["clips_per_s"] > 0
        assert figures["peers"]["pyav"]["difference_to_ours"] <= figures["peers"]["pyav"]["most_difference"]
        assert figures["best_peer"] == figures["best_peer_of_sources"] == "pyav"
        low, high = figures["peers"]["pyav"]["lead_quartiles"]
        assert 0 < low <= figures["lead_over_best_peer"] == figures["peers"]["pyav"]["lead"] <= high
        assert "no_such_package" in figures["peers_missing"]["absent"]
        assert figures["decoder"] == "pyav"
    assert report["tasks"]["evaluation"]["peers"] == "not measured"  # its views share their frames
    assert report["data"]["source_size"] == [340, 256]
    assert report["data"]["jpeg_quality"] == 90
    printed = capsys.readouterr().out
    assert "absent | not measured" in printed
    assert printed.count("| pyav | ") == 6  # for each task twice in the summary, of all and of those that read sources
    assert file.with_suffix(".png").stat().st_size > 1000


@pytest.mark.parametrize(("peer", "name"), PAIRS)
def test_each_peer_that_is_here_makes_our_views_and_normalizes_them(peer_index, our_views, peer, name):
    need(PEERS[peer].module)
    loader = loader_of(peer_index, name)
    with peer_batches(PEERS[peer], peer_clips(loader, 0, 1), batch_size=2, workers=0, device="cpu") as arriving:
        views = next(arriving)
    program = loader.task.program
    assert [view.shape for view in views] == [(2, 3, view.length, program.size, program.size) for view in program.views]
    assert all(view.dtype == torch.float32 and abs(float(view.mean())) < 3 for view in views)
    assert check.difference(our_views(name), check.peer_views(PEERS[peer], loader)) <= check.MOST_DIFFERENCE


def moved(view):
    top, left, height, width = view.box
    left += 2 if left + width + 2 <= 340 else -2
    return dataclasses.replace(view, box=(top, left, height, width))


def changed(change):
    return lambda clip: PEERS["pyav"].views(dataclasses.replace(clip, views=[change(view) for view in clip.views]))


def without(*steps):
    """torch's library, but that some steps leave the frames as they are."""
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
    monkeypatch.setattr(rounds, "PEERS", WRONG_TASKS[name])
    monkeypatch.setattr(rounds, "our_views", lambda loader: our_views(name))
    peers = Peers(loader_of(peer_index, name), batches=1, device="cpu", counts=[0])
    assert set(peers.missing) == set(WRONG_TASKS[name])
    assert all("differ from ours by" in reason for reason in peers.missing.values())
    assert peers.figures([]) == {"peers": {}, "peers_missing": peers.missing}


@pytest.mark.parametrize("peer", PEERS)
def test_a_frame_that_a_clip_shows_twice_stands_in_both_places(peer_index, peer):
    need(PEERS[peer].module)
    (clip, *_) = peer_clips(loader_of(peer_index, "recognition"), 0, 1, prepared=PEERS[peer].prepared)
    (view,) = clip.views
    twice = dataclasses.replace(view, frames=[7, 3, 7, 5])
    once = dataclasses.replace(view, frames=[3, 5, 7])
    shown, expected = (PEERS[peer].views(dataclasses.replace(clip, views=[frames]))[0] for frames in (twice, once))
    assert torch.equal(torch.as_tensor(shown), torch.as_tensor(expected)[[2, 0, 2, 1]])


def test_the_machine_names_the_peers_that_are_installed():
    cv2 = pytest.importorskip("cv2")
    versions = machine()["versions"]
    assert isinstance(versions, dict)
    found = [version for name, version in versions.items() if name.startswith("opencv")]
    assert [version[: len(cv2.__version__)] for version in found] == [cv2.__version__]


def test_workers_are_tried_in_powers_of_two_up_to_one_a_core():
    assert worker_counts(1) == [0, 1]
    assert worker_counts(2) == [0, 1, 2]
    assert worker_counts(12) == [0, 1, 2, 4, 8, 12]


def test_only_numbers_of_workers_that_come_close_are_tried_again_and_longer():
    rates, asked = {0: 50.0, 1: 80.0, 2: 100.0}, []

    def rate(workers, batches):
        asked.append((workers, batches))
        return rates[workers] + (30 if batches == 24 and workers == 1 else 0)

    assert best_workers([0, 1, 2], rate, (6, 24)) == (1, {0: 50.0, 1: 110.0, 2: 100.0})
    assert asked == [(0, 6), (1, 6), (2, 6), (1, 24), (2, 24)]
    asked.clear()
    assert best_workers([0, 2], rate, (6, 24)) == (2, {0: 50.0, 2: 100.0})
    assert asked == [(0, 6), (2, 6)]
