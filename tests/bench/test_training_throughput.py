"""The training bench: what it names as the bound, with a fake clock; and a run of the command."""

import json
import types
from typing import Any

import pytest
import torch

from bench import training_rounds
from bench.training_throughput import default_recipes, main
from configs.errors import UserError
from configs.load import load
from nets.tasks import pretext_tasks
from tests.helpers.ranks import two_ranks
from tests.helpers.runs import ROOT, write_recipe
from trainers.engine.distributed import Ranks
from trainers.engine.loop import Step

pytestmark = pytest.mark.slow

SCRIPT = ROOT / "bench" / "training_throughput.py"


def with_fake_clock(monkeypatch, *, load: float, train: float, accumulate: int = 1) -> dict:
    """Return figures by a fake clock: each batch takes `load` seconds, the rest of each step `train` seconds."""
    now = 0.0

    def loader():
        nonlocal now
        while True:
            now += load
            yield {"clips": torch.zeros(1)}

    def step(run, batches, step):
        nonlocal now
        started = now
        batch = [next(batches) for _ in range(accumulate)][-1]
        wait = now - started
        now += train
        return Step({"loss": torch.zeros((), dtype=torch.float64)}, 1.0, wait, batch)

    monkeypatch.setattr(training_rounds, "time", types.SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(training_rounds, "train_step", step)
    monkeypatch.setattr(training_rounds, "endless", iter)
    config = types.SimpleNamespace(train=types.SimpleNamespace(accumulate=accumulate))
    parts: Any = types.SimpleNamespace(
        loader=loader(), config=config, ranks=Ranks(torch.device("cpu")), total_steps=10, train_step=step
    )
    return training_rounds.measure_rounds(parts, steps=4, rounds=2)


def test_step_network_and_loader_times_are_separated(monkeypatch):
    figures = with_fake_clock(monkeypatch, load=3.0, train=1.0)
    assert figures["step_ms"] == {"p25": 4000, "p50": 4000, "p75": 4000, "p95": 4000}
    assert figures["network_ms"]["p50"] == 1000
    assert figures["loader_ms"]["p50"] == 3000
    assert figures["network_to_step"] == {"median": 0.25, "min": 0.25, "max": 0.25}
    assert figures["data_wait"] == 0.75
    assert figures["bound"] == "loader"
    assert "gpu_data_wait" not in figures


def test_a_step_of_two_micro_steps_takes_two_batches(monkeypatch):
    figures = with_fake_clock(monkeypatch, load=1.0, train=4.0, accumulate=2)
    assert figures["loader_ms"]["p50"] == 2000
    assert figures["step_ms"]["p50"] == 6000
    assert figures["bound"] == "network"


def test_disagreeing_rounds_name_no_bound():
    assert training_rounds.bound({"median": 1.1, "min": 0.9, "max": 1.2}) == "either"


def test_default_covers_every_backbone_of_every_task():
    small = default_recipes(None, gpu=False)
    assert small == [f"{task}/demo" for task in pretext_tasks()]
    full = [load(recipe) for recipe in default_recipes(None, gpu=True)]
    pairs = [(config.task, config.backbone) for config in full]
    assert len(set(pairs)) == len(pairs)
    assert {task for task, _ in pairs} == set(pretext_tasks())
    assert {("ctp", "r3d18"), ("ctp", "r2plus1d18"), ("cstp", "s3dg")} <= set(pairs)
    with pytest.raises(UserError, match="cpt"):
        default_recipes(["cpt"], gpu=True)


def test_the_command_writes_every_figure(long_store, tmp_path, capsys):
    recipe, file = write_recipe(tmp_path, long_store.root), tmp_path / "out" / "training.json"
    options = ["--device", "cpu", "--steps", "2", "--rounds", "1", "--json", str(file)]
    main(["--config", str(recipe), "--data-dir", str(long_store.root), *options])
    report = json.loads(file.read_text())
    assert report["settings"] == {"device": "cpu", "ranks": 1, "data": str(long_store.root)}
    assert report["machine"]["versions"]["torch"]
    (name,) = report["recipes"]
    figures = report["recipes"][name]
    assert figures["backbone"] == "r3d_tiny"
    assert figures["global_batch"] == 4  # more than the number of videos
    for part in ("step_ms", "network_ms", "loader_ms"):
        assert 0 < figures[part]["p25"] <= figures[part]["p50"] <= figures[part]["p75"] <= figures[part]["p95"]
    assert 0 <= figures["data_wait"] < 1
    assert figures["amplification"] >= 1
    assert f"| `{name}` | 4 | " in capsys.readouterr().out


def test_two_ranks_are_measured_together(long_store, tmp_path):
    recipe, file = write_recipe(tmp_path, long_store.root), tmp_path / "training.json"
    options = ["--device", "cpu", "--steps", "1", "--rounds", "1", "--json", file]
    statuses, output = two_ranks(SCRIPT, tmp_path, "--config", recipe, "--data-dir", long_store.root, *options)
    assert statuses == [0, 0]
    assert json.loads(file.read_text())["settings"]["ranks"] == 2
    assert "| bound by |" in output
    assert "| bound by |" not in (tmp_path / "rank1.out").read_text()


def test_tasks_and_recipes_exclude_each_other():
    with pytest.raises(UserError, match="give one of them"):
        main(["--tasks", "ctp", "--config", "configs/ctp/demo.yaml"])
