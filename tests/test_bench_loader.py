"""The loader's bench runs, with its ceilings and peers, so that none rots; no rate is judged here."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from bench import data, loader_throughput, peer_rounds
from bench.ceilings import augment_only
from bench.loader_throughput import main, measure_task
from bench.meters import slope
from bench.peer_data import Colours, peer_clips, peer_store
from bench.peer_rounds import Peers, worker_counts
from bench.peers import PEERS, PeerDataset, opencv_colour, torchvision_colour
from configs.errors import UserError
from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, recognition

SMALL = ["--batches", "1", "--rounds", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def peer_index(tmp_path_factory):
    """Prepared videos with their H.264 files and JPEGs: <folder>/peers_gop250_full/store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "NUM_FRAMES", 34)
        root = tmp_path_factory.mktemp("peers") / "peers_gop250_full"
        return peer_store(root, videos=4, source_gop=250)


def test_the_loader_bench_writes_every_figure_with_the_machine_it_belongs_to(vp9_store, tmp_path, capsys):
    file = tmp_path / "results" / "loader.json"
    options = ["--tasks", "ctp", "vcop", "--batch-size", "2", "--batches", "2", "--rounds", "2", "--device", "cpu"]
    main(["--data-dir", str(vp9_store.root), *options, "--json", str(file)])
    report = json.loads(file.read_text())
    figures = report["tasks"]["ctp"]
    low, high = figures["clips_per_s_quartiles"]
    assert 0 < low <= figures["clips_per_s"] <= high
    assert figures["frames_per_s"] == pytest.approx(16 * figures["clips_per_s"], rel=0.05)
    for ceiling in ("decode", "augment"):
        assert figures[f"{ceiling}_ceiling_share"] > 0
        assert figures[f"{ceiling}_only_clips_per_s"] > 0
    assert figures["batch_ms_p99"] >= figures["batch_ms_p95"] >= figures["batch_ms_p50"] > 0
    assert figures["cpu_s_per_1000_clips"] > 0
    assert figures["host_memory_mib"] > 100
    assert "host_memory_mib_per_1000_batches" in figures
    assert figures["peers"] == "not measured"
    assert report["machine"]["versions"]["torch"]
    assert figures["decoder"] == "dali"
    vcop = report["tasks"]["vcop"]
    assert vcop["frames_per_s"] == pytest.approx(48 * vcop["clips_per_s"], rel=0.05)
    assert file.with_suffix(".png").stat().st_size > 1000
    assert "| `vcop` |" in capsys.readouterr().out


def test_amplification_and_bytes_are_what_the_index_says_before_anything_is_decoded(vp9_store):
    task = Task("recognition", recognition.Config())
    # One batch an epoch: the first one, three that are not counted in time, and one that is.
    clips = [
        read_clip(vp9_store, row, task.plan(vp9_store.info(row), generator(0, Stream.SAMPLE, epoch, row))["frames"])
        for epoch in range(5)
        for row in range(12)
    ]
    settings = {"batch_size": 12, "workers": 0, "threads": 2, "device": "cpu"}
    figures = measure_task(vp9_store, task, settings, batches=1, rounds=1)
    assert figures["amplification"] == round(np.mean([clip.decoded for clip in clips]) / 16, 2)
    assert figures["read_kib_per_clip"] == pytest.approx(np.mean([clip.data.nbytes for clip in clips]) / 1024, rel=0.2)


def test_the_augment_ceiling_delivers_what_the_loader_delivers(vp9_store):
    task = Task("recognition", recognition.Config())
    held = next(augment_only(vp9_store, task, batch_size=12, device="cpu", threads=2))
    loader = ClipLoader(vp9_store, task, batch_size=12, decoder="pyav")
    whole = next(iter(loader))
    loader.close()
    assert set(held) == set(whole) - {"index"}
    for place, row in enumerate(whole["index"].tolist()):
        assert torch.equal(held["clips"][row].movedim(-1, 0), whole["clips"][place])


def test_memory_that_other_loaders_take_between_rounds_is_no_slope():
    rounds = [[(batch, level + 0.25 * batch) for batch in range(5)] for level in (0, 1000)]
    assert slope(rounds) == pytest.approx(250)
    assert slope([[(0, 5.0)], []]) is None


def test_senseless_options_are_refused():
    with pytest.raises(UserError, match="--batches 0"):
        main(["--batches", "0"])
    with pytest.raises(UserError, match="leave --data-dir out"):
        main(["--peers", "--data-dir", "somewhere"])


def test_peers_are_measured_beside_ours_and_those_that_cannot_run_say_why(peer_index, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loader_throughput, "DATA", peer_index.root.parents[1] / "x")
    monkeypatch.setattr(peer_rounds, "worker_counts", lambda cores: [0])
    absent = ("no_such_package", PEERS["decord"][1])
    monkeypatch.setattr(peer_rounds, "PEERS", {"pyav": PEERS["pyav"], "absent": absent})
    file = tmp_path / "loader.json"
    main(["--peers", "--tasks", "recognition", "--batch-size", "2", *SMALL, "--json", str(file)])
    figures = json.loads(file.read_text())["tasks"]["recognition"]
    assert figures["peers"]["pyav"]["clips_per_s"] > 0
    assert figures["peers"]["pyav"]["difference_to_ours"] <= figures["peers"]["pyav"]["most_difference"]
    assert figures["best_peer"] == "pyav"
    assert figures["lead_over_best_peer"] > 0
    assert "no_such_package" in figures["peers_missing"]["absent"]
    assert "absent | not measured" in capsys.readouterr().out


@pytest.mark.parametrize("peer", PEERS)
def test_each_peer_that_is_here_makes_a_normalised_clip(peer_index, peer):
    pytest.importorskip(PEERS[peer][0])
    loader = ClipLoader(peer_index, Task("recognition", recognition.Config()), batch_size=2)
    clip = PeerDataset(peer, peer_clips(loader, 0, 1))[0]
    assert clip.shape == (3, 16, 112, 112)
    assert clip.dtype == torch.float32
    assert abs(float(clip.mean())) < 3


def test_a_peer_with_wrong_clips_is_not_measured(peer_index, monkeypatch):
    def mirrored(clip):
        return PEERS["pyav"][1](dataclasses.replace(clip, flip=not clip.flip))

    monkeypatch.setattr(peer_rounds, "PEERS", {"mirrored": ("av", mirrored)})
    peers = Peers(peer_index, batch_size=2, batches=1, device="cpu", counts=[0])
    assert "differ from ours by" in peers.missing["mirrored"]
    assert peers.figures([]) == {"peers": {}, "peers_missing": peers.missing}


def test_opencv_changes_colours_as_torchvision_does():
    pytest.importorskip("cv2")
    frames = torch.randint(60, 180, (2, 3, 112, 112), dtype=torch.uint8)
    plain = Colours(None, None, None, None)
    assert torch.allclose(torchvision_colour(frames, plain), opencv_colour(frames, plain), atol=1e-5)
    turned = Colours(None, None, 20.0, 1.05)
    assert (torchvision_colour(frames, turned) - opencv_colour(frames, turned)).abs().mean() < 0.1


def test_workers_are_tried_in_powers_of_two_up_to_one_a_core():
    assert worker_counts(1) == [0, 1]
    assert worker_counts(2) == [0, 1, 2]
    assert worker_counts(12) == [0, 1, 2, 4, 8, 12]
