"""The linear classifier, its confidence interval, and the report of a run."""

import json
import shutil

import numpy as np
import pytest
import torch

from configs.errors import UserError
from tests.helpers.features import features
from tests.helpers.runs import ROOT
from trainers.commands.report import main as report
from trainers.evaluation.intervals import wilson
from trainers.evaluation.linear import fit, probe


def blobs(count: int, classes: int, noise: float, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(classes, 10, generator=torch.Generator().manual_seed(99))
    y = torch.arange(count) % classes
    return 100 + 5 * (centers[y] + noise * torch.randn(count, 10, generator=generator)), y


def test_separable_classes_are_separated_at_any_feature_scale():
    classify = fit(*blobs(100, 4, 0.1, 0), classes=4)
    x, y = blobs(200, 4, 0.1, 1)
    assert (classify(x) == y).all()


def test_noise_is_classified_at_chance():
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(400, 20, generator=generator), torch.arange(400) % 4
    classify = fit(x[:200], y[:200], classes=4)
    assert 20 < int((classify(x[200:]) == y[200:]).sum()) < 80  # 50 expected, 5 standard deviations


@pytest.mark.parametrize("labels", [[2], [1, 1], [1, 1, 1, 1, 1, 1, 1], [0, 2, 0]])
def test_few_samples_are_enough_to_fit(labels):
    """With one class, everything is predicted as that class."""
    x = torch.randn(len(labels), 10, generator=torch.Generator().manual_seed(0))
    classify = fit(x, torch.tensor(labels), classes=4)
    others = classify(torch.randn(50, 10, generator=torch.Generator().manual_seed(1)))
    assert set(others.tolist()) <= set(labels)


@pytest.mark.parametrize(
    ("train", "test", "chance"),
    [
        ([0, 1, 2] * 4, [0, 1, 2], 1 / 3),
        ([5] * 3, [5, 5], 1.0),
        ([0, 1], [0, 2], 1 / 4),
        (list(range(8)), [0, 1], 1 / 8),
    ],
)
def test_chance_counts_the_classes_that_occur(train, test, chance):
    """In a dataset of eight classes."""
    rng = np.random.default_rng(0)
    measured = probe(
        *(features(rng.normal(size=(len(of), 5)), of) for of in (train, test)), classes=8, device=torch.device("cpu")
    )
    assert measured["chance"] == pytest.approx(chance)


def test_the_interval_is_wilsons():
    """Newcombe 1998 gives 81 of 263 as 0.2553 to 0.3662."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(20, 20)[1] == pytest.approx(1)


def test_the_report_plots_losses_and_averages_both_ends(tmp_path, capsys):
    shutil.copy(ROOT / "configs" / "ctp" / "demo.yaml", tmp_path / "config.yaml")
    constant = {"zero_loss": 9.0, "chance": 0.4, "clips_per_s": 5.0, "data_wait": 0.1}
    rows = [{"step": s, "loss": 10.0 - s, "iou": s / 10, **constant} for s in range(1, 11)]
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    measured = {"chance": 0.125, "probes": {"random": {"top1": 0.25, "interval": [0.2, 0.3]}}}
    (tmp_path / "probe.json").write_text(json.dumps(measured))
    out = tmp_path / "curves" / "loss.png"
    report(["--work-dir", str(tmp_path), "--out", str(out), "--probe", str(tmp_path / "probe.json")])
    assert out.read_bytes().startswith(b"\x89PNG")
    table = capsys.readouterr().out
    assert "loss              9.00 ->     0.00" in table
    assert "iou               0.10 ->     1.00" in table
    assert "chance            0.40 ->     0.40" in table
    assert "25.0 % top-1" in table


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"metrics.jsonl.*work-dir"):
        report(["--work-dir", str(tmp_path), "--out", str(tmp_path / "loss.png")])
