"""The benches run, so that none rots; their figures are not judged here."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import downstream_demo, pretext_demo
from bench.loader_throughput import main
from bench.pretext_demo import call
from configs.errors import UserError
from dali_pipelines import demo_data
from dali_pipelines.plan.rng import Stream, generator
from dali_pipelines.store.reader import read_clip
from dali_pipelines.tasks import Task, ctp
from trainers import finetune, pretrain
from trainers import test as test_command


def test_the_loader_bench_writes_every_figure_with_the_machine_it_belongs_to(vp9_store, tmp_path, capsys):
    file = tmp_path / "results" / "loader.json"
    options = [
        "--tasks",
        "ctp",
        "vcop",
        "--batch-size",
        "2",
        "--batches",
        "2",
        "--rounds",
        "1",
        "--device",
        "cpu",
        "--json",
        str(file),
    ]
    main(["--data-dir", str(vp9_store.root), *options])
    report = json.loads(file.read_text())
    figures = report["tasks"]["ctp"]
    assert figures["clips_per_s"] > 0
    assert figures["frames_per_s"] == pytest.approx(16 * figures["clips_per_s"], rel=0.05)
    assert 0 < figures["decode_ceiling_share"] < 10
    assert figures["batch_ms_p95"] >= figures["batch_ms_p50"] > 0
    assert report["machine"]["versions"]["torch"]
    assert figures["decoder"] == "dali"
    assert report["tasks"]["vcop"]["frames_per_s"] == pytest.approx(
        48 * report["tasks"]["vcop"]["clips_per_s"], rel=0.05
    )
    assert "clips_per_s" in capsys.readouterr().out


def test_amplification_is_what_the_index_says_before_anything_is_decoded(vp9_store, tmp_path):
    file = tmp_path / "loader.json"
    options = [
        "--tasks",
        "ctp",
        "--batch-size",
        "12",
        "--batches",
        "1",
        "--rounds",
        "1",
        "--device",
        "cpu",
        "--json",
        str(file),
    ]
    main(["--data-dir", str(vp9_store.root), *options])
    task = Task("ctp", ctp.Config())
    # One batch an epoch: the first one, three that are not counted in time, and one that is.
    decoded = [
        read_clip(
            vp9_store, row, task.plan(vp9_store.info(row), generator(0, Stream.SAMPLE, epoch, row))["frames"]
        ).decoded
        for epoch in range(5)
        for row in range(12)
    ]
    assert json.loads(file.read_text())["tasks"]["ctp"]["amplification"] == round(np.mean(decoded) / 16, 2)


def test_a_senseless_option_is_refused():
    with pytest.raises(UserError, match="--batches 0"):
        main(["--batches", "0"])


def test_the_task_bench_trains_probes_and_reports_each_task_and_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    calls = []

    def call_small(*command: object) -> None:
        calls.append(command)
        small = ("--train", "32", "--test", "32") if "--out" in command else ("--max-steps", "8")
        call(*command, *(() if str(command[0]).endswith("probe.py") else small))

    monkeypatch.setattr(pretext_demo, "call", call_small)
    for task in ("rot3d", "vcop"):
        pretext_demo.main(["--tasks", task, "--work-dir", str(tmp_path / "work"), "--out", str(tmp_path / "out")])
    report = json.loads((tmp_path / "out" / "pretext_demo.json").read_text())
    assert report["machine"]["cpu"]
    assert list(report["tasks"]) == ["rot3d", "vcop"]
    for figures, chance in zip(report["tasks"].values(), (1 / 4, 1 / 6), strict=True):
        assert figures["chance"] == pytest.approx(chance, abs=1e-4)
        assert figures["steps"] == 8
        assert all(0 <= figures[name] <= 1 for name in ("first", "last", "held_out", "probe_chance"))
        assert 0 <= figures["probe"]["top1"] <= 1
    assert (tmp_path / "out" / "pretext_demo.png").stat().st_size > 1000
    assert "| `vcop` | accuracy | 16.7 |" in capsys.readouterr().out


def test_the_task_bench_names_an_unknown_task_and_those_that_there_are():
    with pytest.raises(UserError, match=r"no task named cpt; there are: .*ctp"):
        pretext_demo.main(["--tasks", "cpt", "--out", "nowhere"])


def test_the_downstream_bench_has_five_figures_and_two_pictures_a_task(tmp_path, monkeypatch, capsys):
    calls = []

    def call_here(*command: object) -> None:
        """In this process, and for a few steps alone: to start one takes longer."""
        calls.append(command)
        words = [str(word) for word in command]
        if words[0] == "-m":
            demo_data.main([*words[2:], "--train", "48", "--test", "16"])
            return
        short = "--protocol" in words or "--max-steps" in words
        command_main = {"pretrain": pretrain, "finetune": finetune, "test": test_command}[Path(words[0]).stem].main
        command_main([*words[1:], *([] if short else ["--max-steps", "4"])])

    monkeypatch.setattr(downstream_demo, "call", call_here)
    folders = ["--pretext", tmp_path / "pretext", "--work-dir", tmp_path / "work", "--out", tmp_path / "out"]
    arguments = ["--tasks", "cpc_transformer", "--seeds", "2", *map(str, folders)]
    downstream_demo.main(arguments)
    report = json.loads((tmp_path / "out" / "downstream_demo.json").read_text())
    figures = report["cpc_transformer"]
    assert figures["machine"]["cpu"]
    for name, seeds in {"scratch": 2, "finetune": 2, "linear": 1, "retrieval": 1, "random_linear": 2}.items():
        low, high = figures[name]["interval"]
        assert 0 <= low <= figures[name]["mean"] <= high <= 1
        assert figures[name]["mean"] == pytest.approx(np.mean(figures[name]["values"]), abs=1e-4)
        assert len(figures[name]["seeds"]) == len(figures[name]["values"]) == seeds
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "downstream_demo.json",
        "downstream_demo_cpc_transformer_confusion.png",
        "downstream_demo_cpc_transformer_neighbours.png",
    }
    assert "| `cpc_transformer` | " in capsys.readouterr().out
    downstream_demo.main(arguments)  # nothing is tested again
    assert len([command for command in calls if "--protocol" in command]) == 2 + 2 + 1 + 1 + 2
