"""The online probe and RankMe: closed forms, a loop in plain torch, and runs that are the same with and without."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from configs.load import load
from configs.recipes import names
from dali_pipelines.tasks import Task
from nets.backbones import Backbone, create
from nets.tasks import Pretext
from tests.helpers import loop_worker
from tests.helpers.loop import STEPS, assert_same_weights, history, run, run_two_ranks, weights
from tests.helpers.ranks import ALONE
from tests.helpers.runs import write_recipe
from trainers.commands import pretrain
from trainers.engine import online
from trainers.engine.online import OnlineProbe, rankme

PROBE = ("--set", "train.online_probe=true")


class Tiny(Backbone):
    """Backbone that averages each color after batch norm and dropout, which in train mode change features and state."""

    out_channels, stride = 3, (1, 1, 1)

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm3d(3), nn.Dropout(0.5)


def tiny() -> Pretext:
    net = Pretext()
    net.backbone = Tiny()
    return net


def batch(rows: list[int], *, views: int = 0, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(rows), *[views] * bool(views), 3, 2, 4, 4)
    return {"clips": torch.randn(shape, generator=generator), "index": torch.tensor(rows)}


@pytest.mark.parametrize("rank", [1, 4, 16])
def test_rankme_of_k_equal_directions_is_k(rank):
    basis = torch.linalg.qr(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)))[0][:rank]
    assert rankme(basis.repeat(20, 1)) == pytest.approx(rank, rel=1e-3)


def test_rankme_matches_the_papers_equation():
    values = np.random.default_rng(0).normal(size=(40, 6)) * [9, 3, 1, 0.5, 0.1, 0]
    singular = np.linalg.svd(values)[1]
    shares = [float(s) / float(sum(singular)) + 1e-7 for s in singular]
    expected = math.exp(-sum(p * math.log(p) for p in shares))
    assert rankme(torch.from_numpy(values)) == pytest.approx(expected, rel=1e-5)
    assert 1 < expected < 4
    assert rankme(torch.zeros(5, 3)) == pytest.approx(1, abs=1e-4)  # collapsed to zero


def test_each_batch_is_tested_before_it_is_learned():
    """Against AdamW on a linear layer; features are of the first view, in eval mode."""
    net, labels = tiny(), np.array([0, 1, 2, -1, 0, 1])
    probe = OnlineProbe(net, labels, classes=3, ranks=ALONE, bf16=False)
    head = nn.Linear(3, 3)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.AdamW(head.parameters(), lr=1e-3)
    hits, seen = list[bool](), list[torch.Tensor]()
    for step in range(30):
        rows = [step % 6, (step + 1) % 6, (step + 2) % 6]
        taken = batch(rows, views=2, seed=step)
        probe.update(taken)
        norm = net.backbone.norm
        assert isinstance(norm, nn.BatchNorm3d)
        mean = taken["clips"][:, 0].mean((2, 3, 4)) / math.sqrt(1 + norm.eps)
        seen.append(mean)
        labeled = [place for place, row in enumerate(rows) if labels[row] >= 0]
        x = mean[labeled]
        x = (x - x.mean(1, keepdim=True)) / (x.var(1, keepdim=True, unbiased=False) + 1e-5).sqrt()
        y = torch.from_numpy(labels[[rows[place] for place in labeled]])
        hits += (head(x).argmax(1) == y).tolist()
        optimizer.zero_grad()
        nn.functional.cross_entropy(head(x), y).backward()
        optimizer.step()
    assert probe.figures()["online_top1"] == pytest.approx(sum(hits) / len(hits))
    assert probe.figures()["rankme"] == pytest.approx(rankme(torch.cat(seen)), rel=1e-4)
    for name, value in head.state_dict().items():
        torch.testing.assert_close(probe.state_dict()["head"][name], value, rtol=1e-4, atol=1e-6)


def test_the_backbone_keeps_its_state_and_modes():
    net = tiny()
    net.train()
    net.backbone.get_submodule("dropout").eval()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.manual_seed(3)
    random = torch.get_rng_state()
    probe = OnlineProbe(net, np.zeros(4, np.int64), classes=1, ranks=ALONE, bf16=False)
    probe.update(batch([0, 1, 2]))
    assert torch.equal(torch.get_rng_state(), random)
    assert_same_weights(net.state_dict(), before)
    assert [module.training for module in net.modules()] == [True, True, True, False]
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_window_holds_the_newest_finite_clips(monkeypatch):
    monkeypatch.setattr(online, "WINDOW", 4)
    probe = OnlineProbe(tiny(), np.zeros(6, np.int64), classes=0, ranks=ALONE, bf16=False)
    for step in range(4):
        taken = batch([0, 1], seed=step)
        taken["clips"][1, 0, 0, 0, 0] = torch.nan if step == 3 else 0
        probe.update(taken)
    last = [batch([0, 1], seed=step)["clips"] for step in (1, 2, 3)]
    assert probe.state_dict()["features"].shape == (4, 3)
    assert [*probe.figures()] == ["rankme"]  # no classes, no top-1
    torch.testing.assert_close(probe.state_dict()["features"][-1], last[2][0].mean((1, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Return a folder with an uninterrupted run without the probe and one with it."""
    folder = tmp_path_factory.mktemp("online")
    run(folder, name="without")
    run(folder, *PROBE)
    return folder


def without_probe_figures(lines: list[dict]) -> list[dict]:
    return [{name: value for name, value in line.items() if name not in ("online_top1", "rankme")} for line in lines]


def test_the_online_probe_does_not_change_the_run(whole):
    assert without_probe_figures(history(whole)) == history(whole, "without")
    assert_same_weights(weights(whole), weights(whole, name="without"))
    for line in history(whole):
        assert 0 <= line["online_top1"] <= 1
        assert 1 <= line["rankme"] <= 8


def test_a_resumed_run_logs_the_same_figures(whole, tmp_path):
    run(tmp_path, *PROBE, "--max-steps", "6")
    run(tmp_path, *PROBE)
    assert history(tmp_path) == history(whole)


def test_the_online_probe_can_be_switched_on_resume(whole, tmp_path):
    run(tmp_path, "--max-steps", "5")
    run(tmp_path, *PROBE, "--max-steps", "10")
    run(tmp_path)
    assert without_probe_figures(history(tmp_path)) == history(whole, "without")
    assert ["rankme" in line for line in history(tmp_path)] == [False] * 5 + [True] * 5 + [False] * 5
    assert_same_weights(weights(tmp_path), weights(whole))


def test_a_dataset_may_get_its_classes_between_resumes(whole, tmp_path, monkeypatch, capsys):
    """As `clipfeed lists` gives them."""
    with monkeypatch.context() as before:
        before.setattr(loop_worker.Index, "class_names", ())
        before.setattr(loop_worker.Index, "labels", np.full(loop_worker.VIDEOS, -1))
        run(tmp_path, *PROBE, "--max-steps", "6")
    run(tmp_path, *PROBE)
    assert "note: the dataset has another number of classes than before: the classifier of" in capsys.readouterr().out
    assert ["online_top1" in line for line in history(tmp_path)] == [False] * 6 + [True] * (STEPS - 6)
    assert [line["rankme"] for line in history(tmp_path)] == [line["rankme"] for line in history(whole)]


def test_figures_are_computed_only_for_logged_lines(whole, tmp_path, monkeypatch):
    made = list[int]()

    def record(features: torch.Tensor) -> float:
        made.append(len(features))
        return 1.0

    monkeypatch.setattr(online, "rankme", record)
    run(tmp_path, *PROBE, "--set", "train.log_every=4", "--set", "train.accumulate=2")
    assert made == [16, 32, 48, 60]  # per step, only the four clips of the last micro-step count
    content = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in content] == [4, 8, 12, STEPS]


@pytest.mark.slow
def test_two_ranks_log_the_figures_of_one_even_after_a_kill(tmp_path):
    """Without batch norm, whose statistics differ between ranks."""
    options = (*PROBE, "--set", "net.plain=true")
    run(tmp_path, *options, name="one")
    run_two_ranks(tmp_path, *options, "--set", "plan.kill_step=6")
    assert run_two_ranks(tmp_path, *options)[0] == [0, 0]
    for ours, theirs in zip(history(tmp_path), history(tmp_path, "one"), strict=True):
        assert ours["online_top1"] == theirs["online_top1"]
        assert ours["rankme"] == pytest.approx(theirs["rankme"], rel=1e-4)


@pytest.mark.slow
def test_videos_have_the_class_of_their_folder(vp9_store, tmp_path, monkeypatch):
    """In a real run, where batches have no labels."""
    seen = dict[int, int]()
    real = OnlineProbe._learn

    def record(self, features, labels):
        real(self, features, labels)
        seen.update(zip(rows, labels.tolist(), strict=True))

    update = OnlineProbe.update
    rows = list[int]()

    def record_remembered(self, taken):
        assert "labels" not in taken
        rows[:] = taken["index"].tolist()
        update(self, taken)

    monkeypatch.setattr(OnlineProbe, "_learn", record)
    monkeypatch.setattr(OnlineProbe, "update", record_remembered)
    recipe = write_recipe(tmp_path, vp9_store.root)
    pretrain.main(["--config", str(recipe), "--device", "cpu", "--max-steps", "2", *PROBE])
    assert len(seen) > 3
    for row, label in seen.items():
        assert vp9_store.names.text(row).startswith(f"class{label}/")
    line = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert 1 <= line["rankme"] <= 4


@pytest.mark.parametrize("recipe", [name for name in names() if name.endswith("/demo")])
def test_every_task_has_clips_its_backbone_accepts(recipe):
    config = load(recipe)
    shape, dtype = Task(config.task, config.plan).batch_schema["clips"]
    net = Pretext()
    net.backbone = create(config.backbone)
    probe = OnlineProbe(net, np.zeros(2, np.int64), classes=1, ranks=ALONE, bf16=False)
    probe.update({"clips": torch.zeros(2, *shape, dtype=getattr(torch, dtype)), "index": torch.arange(2)})
    assert probe.state_dict()["features"].shape == (2, net.backbone.out_channels)
