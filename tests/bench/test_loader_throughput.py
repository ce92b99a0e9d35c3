"""The loader bench and its ceilings; no rate is checked here."""

import json
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch

from bench import data, meters
from bench.loader import ours, processes
from bench.loader.ceilings import CutTask, DecodeTask, augment_only
from bench.loader.epochs import figures
from bench.loader.rounds import measure_task
from bench.loader.stores import stores
from bench.loader_throughput import main, parse_args
from bench.meters import cpu_seconds, slope
from configs.errors import UserError
from dali_pipelines.decode.frames import decode_rgb
from dali_pipelines.loader import ClipLoader
from dali_pipelines.plan.order import Order
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.samples import SampleSource
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, recognition, task_module
from tests.helpers.http_files import served

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("short_rounds")
def test_loader_bench_writes_every_figure_and_its_machine(vp9_store, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ours, "worker_counts", lambda: [0, 1])
    file = tmp_path / "results" / "loader.json"
    options = ["--tasks", "ctp", "vcop", "--batch-size", "2", "--batches", "2", "--rounds", "2", "--device", "cpu"]
    main(["--data-dir", str(vp9_store.root), *options, "--json", str(file)])
    report = json.loads(file.read_text())
    assert [*report["tasks"]["ctp"]["contenders"]] == ["vp9"]
    found = report["tasks"]["ctp"]["contenders"]["vp9"]
    figures = found["this_loader"]
    low, high = figures["clips_per_s_quartiles"]
    assert 0 < low <= figures["clips_per_s"] <= high
    for ceiling in ("decode_only", "decode_and_cut", "augment_only"):
        assert found[ceiling]["clips_per_s"] > 0
        low, high = figures["ratios"][ceiling]["quartiles"]
        assert 0 < low <= figures["ratios"][ceiling]["median"] <= high
    assert figures["batch_ms_p99"] >= figures["batch_ms_p95"] >= figures["batch_ms_p50"] > 0
    assert figures["cpu_s_per_1000_clips"] > 0
    assert figures["host_memory_mib"] > 100
    assert "host_memory_mib_per_1000_batches" in figures
    assert report["tasks"]["ctp"]["missing"] == {}
    assert report["machine"]["versions"]["torch"]
    assert figures["decoder"] == "dali"
    assert set(figures["tried_workers"]) == {"0", "1"}
    assert figures["tried_workers"][str(figures["workers"])] == max(figures["tried_workers"].values())
    assert file.with_suffix(".png").stat().st_size > 1000
    assert "| `vcop` |" in capsys.readouterr().out


@pytest.mark.usefixtures("short_rounds")
def test_fewer_videos_than_a_batch_are_repeated(vp9_store, tmp_path):
    task = data.default_task("rot3d")
    assert data.for_batches(vp9_store, task, len(vp9_store)) is vp9_store
    longest = np.argsort(vp9_store.num_frames)[-2:]
    two = vp9_store.select(longest)
    assert [*data.for_batches(two, task, 5).names.texts()] == [name for name in two.names.texts() for _ in range(3)]
    options = ["--tasks", "rot3d", "--epochs", "1", "--workers", "0", "--device", "cpu"]
    options += ["--batch-size", str(len(vp9_store) + 1), "--json", str(tmp_path / "loader.json")]
    main(["--data-dir", str(vp9_store.root), *options])
    assert json.loads((tmp_path / "loader.json").read_text())["tasks"]["rot3d"]["batches_an_epoch"] == 1


@pytest.mark.usefixtures("short_rounds")
def test_a_dataset_at_a_url_is_measured(vp9_store, tmp_path):
    options = ["--tasks", "rot3d", "--batch-size", "2", "--epochs", "1", "--workers", "0", "--device", "cpu"]
    with served(vp9_store.root) as files:
        main(["--data-dir", files.url, *options, "--json", str(tmp_path / "loader.json")])
    report = json.loads((tmp_path / "loader.json").read_text())
    assert report["data"]["vp9"]["root"] == files.url
    assert report["tasks"]["rot3d"]["epochs"] == 1


@pytest.mark.usefixtures("short_rounds")
def test_amplification_and_bytes_match_the_index(vp9_store):
    task = Task("recognition", recognition.Config())
    # One batch per epoch: the first, the warm-up ones, and a timed one.
    clips = [
        read_clip(vp9_store, row, task.plan(vp9_store.info(row), generator(0, Stream.SAMPLE, epoch, row))["frames"])
        for epoch in range(1 + meters.WARM_UP + 1)
        for row in range(12)
    ]
    settings = {"batch_size": 12, "workers": 0, "threads": 2, "device": "cpu"}
    measured = measure_task({"vp9": vp9_store}, task, settings, batches=1, rounds=1)
    figures = measured["contenders"]["vp9"]["this_loader"]
    assert figures["amplification"] == round(np.mean([clip.decoded for clip in clips]) / 16, 2)
    assert figures["read_kib_per_clip"] == pytest.approx(np.mean([clip.data.nbytes for clip in clips]) / 1024, rel=0.2)


@pytest.mark.filterwarnings("error:The external source node")  # which hands over arrays that the graph leaves unused
@pytest.mark.parametrize("decoder", ["dali", "pyav"])
@pytest.mark.parametrize("name", ["recognition", "ctp"])
def test_augment_ceiling_delivers_the_clips_of_the_loader(vp9_store, name, decoder):
    task = data.default_task(name)
    loader = ClipLoader(vp9_store, task, batch_size=12, decoder=decoder)
    whole = next(iter(loader))
    loader.close()
    held = next(augment_only(vp9_store, task, batch_size=12, device="cpu", threads=2, cut=loader.media == "frames"))
    assert set(held) == set(whole) - {"index"}
    for place, row in enumerate(whole["index"].tolist()):
        assert torch.equal(held["clips"][row].movedim(-1, 0), whole["clips"][place])


@pytest.mark.parametrize("name", ["recognition", "concepts"])
def test_decode_ceiling_decodes_all_frames_and_converts_a_corner(h264_store, name):
    task = pickle.loads(pickle.dumps(DecodeTask(name, task_module(name).Config())))
    source = SampleSource(
        h264_store, task, Order(len(h264_store), 1, 0, 1, seed=0, shuffle=True), media="frames", steps=1
    )
    sample = dict(zip(source.names, source.read(0, 3), strict=True))
    plan = Task(name, task.cfg).plan(h264_store.info(3), generator(0, Stream.SAMPLE, 0, 3))
    clip = read_clip(h264_store, 3, plan["frames"])
    assert sample["decoded"] == clip.decoded
    difference = np.abs(sample["media"].astype(int) - decode_rgb(clip)[:, :16, :16])
    assert difference.max() <= 1
    assert difference.mean() < 0.1
    assert sample["media"].shape == (len(plan["frames"]), 16, 16, 3)


@pytest.mark.parametrize("decoder", ["dali", "pyav"])
def test_cut_ceiling_cuts_every_view_and_delivers_a_pixel(vp9_store, decoder):
    cfg = task_module("moco").Config()
    loaders = [
        ClipLoader(vp9_store, task, batch_size=4, decoder=decoder) for task in (CutTask("moco", cfg), Task("moco", cfg))
    ]
    cut, _whole = loaders
    batch = next(iter(cut))
    assert {name: tuple(pixels.shape) for name, pixels in batch.items() if name != "index"} == (
        {"pixel": (4, 1, 1, 1, 3)} if decoder == "pyav" else {"pixel0": (4, 1, 1, 1, 3), "pixel1": (4, 1, 1, 1, 3)}
    )
    plan = dict(zip(cut.source.names, cut.source.read(0, 3), strict=True))
    assert set(plan) == {"row", "decoded", "media"} | (
        set() if decoder == "pyav" else {"frames", "order", *cut.task.program.schema()}
    )
    for loader in loaders:
        loader.close()


def test_cpu_time_includes_child_processes():
    before, own = cpu_seconds(), time.process_time()
    code = "print(sum(range(3 * 10**7)), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        fields = Path("/proc", str(child.pid), "stat").read_text().rpartition(")")[2].split()
        spent = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        assert spent > 0.1  # even on a fast core; more than the tolerance
        assert cpu_seconds() - before == pytest.approx(spent + time.process_time() - own, abs=0.1)


def test_memory_taken_between_rounds_is_no_slope():
    rounds = [[(batch, level + 0.25 * batch) for batch in range(5)] for level in (0, 1000)]
    assert slope(rounds) == pytest.approx(250)
    assert slope([[(0, 5.0)], []]) is None


class Executor:
    """Fake process with a loader on `core`: 20 clips/s alone, 15 alongside the other one."""

    requests: list[int] = []

    def __init__(self, count, context, start, arguments):
        self.core = arguments[-1]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, batches):
        result: Future[float] = Future()
        result.set_result(15.0 if len(self.requests) % 3 else 20.0)  # of every three requests the first runs alone
        self.requests.append(self.core)
        return result


def test_one_loader_process_alternates_with_one_per_core(vp9_store, tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {5, 3})
    monkeypatch.setattr(processes, "ProcessPoolExecutor", Executor)
    monkeypatch.setattr(Executor, "requests", [])
    file = tmp_path / "loader.json"
    options = ["--tasks", "rot3d", "--processes", "2", "--rounds", "2", "--json", str(file)]
    main(["--data-dir", str(vp9_store.root), *options])
    report = json.loads(file.read_text())
    assert report["settings"].items() >= {"workers": 0, "threads": 1, "device": "cpu"}.items()
    figures = report["tasks"]["rot3d"]
    assert Executor.requests == [3, 3, 5, 3, 3, 5]
    assert (figures["one_clips_per_s"], figures["all_clips_per_s"], figures["efficiency"]) == (20, 30, 0.75)


def test_epochs_report_the_first_batch_and_memory(vp9_store, tmp_path):
    file = tmp_path / "epochs.json"
    options = ["--tasks", "rot3d", "--epochs", "3", "--batch-size", "4", "--workers", "0", "--device", "cpu"]
    main(["--data-dir", str(vp9_store.root), *options, "--json", str(file)])
    found = json.loads(file.read_text())["tasks"]["rot3d"]
    assert (found["epochs"], found["batches_an_epoch"], found["workers"]) == (3, len(vp9_store) // 4, 0)
    assert found["first_batch_s"] > 0
    assert found["host_memory_mib"] > 100
    assert not file.with_suffix(".png").exists()


def test_only_stalls_at_epoch_starts_show_as_such():
    steady = [0.01] * 30
    late = [0.05 if not number % 10 else 0.01 for number in range(30)]
    once = [0.05 if number == 15 else 0.01 for number in range(30)]
    for seconds, start, p99 in ((steady, 1, 1), (late, 5, 5), (once, 1, 3.84)):
        found = figures(meters.Round(seconds, 0.0, [(0, 1.0)], []), 10)
        assert (found["epoch_start_to_median"], found["p99_to_median"]) == (start, pytest.approx(p99, abs=0.02))


def test_each_loader_process_has_its_own_core(vp9_store, monkeypatch):
    pinned = []
    monkeypatch.setattr("os.sched_setaffinity", lambda process, cores: pinned.append(cores))
    processes._start_loader(vp9_store, "rot3d", 2, 3)
    assert processes._loader_rate(1) > 0
    assert pinned == [{3}]


def test_invalid_options_are_refused(monkeypatch):
    with pytest.raises(UserError, match="--codec h264 vp9: --epochs and --processes measure one store"):
        main(["--codec", "h264", "vp9", "--epochs", "3"])
    for option in (["--peers"], ["--codec", "vp9"]):
        with pytest.raises(UserError, match=f"{option[0]} does not go with --data-dir"):
            main([*option, "--data-dir", "somewhere"])
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {3, 5})
    for option in (["--workers", "0"], ["--device", "cuda"], ["--threads", "9"]):
        with pytest.raises(UserError, match=f"{option[0]} does not go with --processes"):
            main(["--processes", "2", *option])


@pytest.mark.parametrize("options", [[], ["--codec", "h264", "rawvideo"], ["--codec", "vp9"]])
def test_bench_stores_have_the_defaults_of_prepare_and_name_them(tmp_path, monkeypatch, options):
    monkeypatch.setattr(data, "DATA", tmp_path)
    monkeypatch.setattr(data, "NUM_FRAMES", 18)
    monkeypatch.setattr(data, "VIDEOS", 1)
    found, facts = stores(parse_args([*options, "--batch-size", "1"]))
    assert [*found] == (options[1:] or ["h264"])
    for codec, index in found.items():
        gop = 16 if codec == "vp9" else 1
        assert Path(index.root).name == f"{codec}_gop{gop}_144"
        assert index.codec(0) == codec
        assert facts[codec]["stored_size"] == index.sizes_WH[0].tolist() == [192, 144]
        assert index.units(0).frame_ends.tolist() == [*range(gop, 18, gop), 18]


@pytest.mark.usefixtures("short_rounds")
def test_the_tables_of_one_task_are_printed_once(vp9_store, capsys):
    options = ["--batches", "1", "--rounds", "1", "--workers", "0", "--device", "cpu"]
    main(["--data-dir", str(vp9_store.root), *options, "--tasks", "rot3d"])
    assert capsys.readouterr().out.count("| task | store | clips/s |") == 1
