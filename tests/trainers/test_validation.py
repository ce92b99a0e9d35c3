"""Validation between epochs: figures against FFmpeg and plain torch, plateaus against torch's, the best checkpoint."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.load import parse
from dali_pipelines.store.index import Index
from nets import backbones
from nets.classifier import Classifier, Config
from tests.helpers.crops import scaled_part
from tests.helpers.media import BT601, read_video
from tests.helpers.ranks import ALONE
from trainers.engine.run import Run
from trainers.evaluation import validation
from trainers.evaluation.predict import predict
from trainers.evaluation.validation import Validator

pytestmark = pytest.mark.slow

RECIPE = """
{task: recognition, backbone: r3d_tiny, work_dir: w, data: {root: none, workers: 0, threads: 1},
 plan: {num_frames: 4, size: 32, short_sides: [32], test: {clips: 10, crops: five, short_side: 40}}, train: {epochs: 1},
 schedule: {kind: plateau}}
"""


def recipe(*overrides: str):
    return parse(RECIPE, source="recipe", overrides=overrides)


def run_of(net: Classifier) -> Run:
    return cast(Run, SimpleNamespace(net=net, unreadable={}))


def classifier() -> Classifier:
    """Make a classifier that tells videos apart, with running statistics unlike those of a batch."""
    torch.manual_seed(1)
    net = Classifier(backbones.create("r3d_tiny"), 2, Config(init_std=3.0))
    net({"clips": torch.randn(4, 3, 4, 32, 32), "labels": torch.tensor([0, 1, 0, 1])})
    return net


def validate(index: Index, config, folder: Path, run: Run | None = None) -> tuple[dict[str, float], list[str]]:
    """Return the results of a first validation and the files it writes."""
    validator = Validator(index, config, ALONE, folder)
    with mock.patch.object(validation, "content", return_value={}):
        measured = validator(run or run_of(classifier()), 5)
    return measured, [path.name for path in folder.iterdir()]


def middle_clip(index: Index, row: int) -> torch.Tensor:
    """Return the middle clip of four frames at stride 2, scaled to a short side of 40 and cropped to 32 pixels."""
    frames = read_video(index.path(row), f"scale={BT601}", "format=rgb24")
    start = (len(frames) - 8 + 1) // 2
    margins = [(side // 4 - 32) // 2 * 4 for side in frames.shape[1:3]]  # in source pixels, four to one
    rows, columns = ((margin, margin + 128) for margin in margins)
    pixels = torch.from_numpy(scaled_part(frames[start : start + 8 : 2], rows, columns, 32) / 255)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return ((pixels - mean) / std).permute(3, 0, 1, 2).float()


@pytest.fixture(scope="module")
def expected(vp9_store) -> tuple[float, float]:
    """Return loss and top-1 of the middle clip of every video, computed in plain torch."""
    net = classifier().eval()
    with torch.no_grad():
        logits = net.logits(torch.stack([middle_clip(vp9_store, row) for row in range(len(vp9_store))]))
    log_p = logits.double().log_softmax(1)[range(len(vp9_store)), vp9_store.labels]
    return -log_p.mean().item(), (logits.argmax(1).numpy() == vp9_store.labels).mean()


@pytest.mark.parametrize(
    "change",
    ["plan.test.average=logits", "plan.test.average=probabilities", "plan.test.reference.jitter=true"],
)
def test_validation_uses_the_middle_clip_for_any_test_settings(vp9_store, expected, tmp_path, change):
    measured, files = validate(vp9_store, recipe(change), tmp_path)
    assert measured["loss"] == pytest.approx(expected[0], rel=0.02)  # different decoders, and one more rounding
    assert measured["top1"] == measured["best_top1"] == pytest.approx(expected[1])
    assert 0 < expected[1] < 1
    assert expected[0] > 0.5
    assert files == ["best.pt"]


def test_validation_does_not_change_the_network(vp9_store, tmp_path):
    net, before = classifier(), classifier().state_dict()
    with mock.patch.object(validation, "content", return_value={}):
        Validator(vp9_store, recipe(), ALONE, tmp_path)(run_of(net), 1)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(parameter.is_inference() for parameter in net.parameters())


def test_an_unreadable_video_is_named_and_counts_as_wrong(own_store, expected, tmp_path, caplog):
    plan = Validator(own_store, recipe(), ALONE, tmp_path).plan
    scores = predict(classifier().eval(), own_store, plan, ALONE, recipe().data, desc="").scores
    right = int(np.flatnonzero(scores.argmax(1) == own_store.labels)[0])
    own_store.path(right).unlink()
    (tmp_path / "out").mkdir()
    run = run_of(classifier())
    measured, _ = validate(own_store, recipe(), tmp_path / "out", run)
    assert [*run.unreadable] == [own_store.names.text(right)]
    assert measured["top1"] == pytest.approx(expected[1] - 1 / 12)
    others = np.delete(np.arange(12), right)
    losses = -torch.from_numpy(scores).log_softmax(1).numpy()[range(12), own_store.labels]
    assert measured["loss"] == pytest.approx(losses[others].mean())  # of the readable videos
    (message,) = caplog.messages
    assert message.startswith(f"{own_store.names.text(right)} is unreadable")


# Validations with given figures.

VIDEOS: Any = range(4)
NET = classifier()  # only its class matters


def feed(validator: Validator, figures: list[tuple[float, float]]) -> tuple[list[dict[str, float]], list[int]]:
    """Return the reports of validations with given (top-1, loss), and the steps, from 0, that wrote best.pt."""
    reports, written = [], []
    for step, (top1, loss) in enumerate(figures):
        patched: dict[str, Any] = {
            "predict": lambda *_, **__: SimpleNamespace(scores=None, labels=None, unreadable={}),
            "top_k": lambda *_, found=top1: found,
            "cross_entropy": lambda *_, found=loss: found,
            "content": lambda run: {},
            "checkpoint": SimpleNamespace(write=lambda path, content: written.append(content["step"])),
        }
        with mock.patch.multiple(validation, **patched):
            reports.append(validator(run_of(NET), step))
    return reports, written


losses = st.one_of(st.floats(1e-3, 10), st.sampled_from([1.0, 1 - 1e-4, 1 - 2e-4, 0.99985, 2.0, float("nan")]))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(losses, max_size=40), st.integers(0, 4), st.sampled_from([0.1, 0.5]))
def test_plateau_rate_matches_torchs_scheduler(figures, patience, gamma):
    config = recipe(f"schedule.patience={patience}", f"schedule.gamma={gamma}")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=gamma, patience=patience, eps=0)
    expected = []
    for loss in figures:
        theirs.step(loss)
        expected.append(optimizer.param_groups[0]["lr"])
    reports, _ = feed(Validator(VIDEOS, config, ALONE, Path()), [(0.5, loss) for loss in figures])
    assert [report["lr_factor"] for report in reports] == expected


def test_tiny_gains_do_not_count_and_patience_restarts_after_a_fall():
    config = recipe("schedule.patience=1")
    figures = [1.0, 0.99995, 0.99991, 0.9998, 0.9999, 0.9999, 0.9999, 0.9999, 0.5]
    reports, _ = feed(Validator(VIDEOS, config, ALONE, Path()), [(0.5, loss) for loss in figures])
    factors = [report["lr_factor"] for report in reports]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.001, 0.001])


def test_other_schedules_ignore_plateaus():
    config = recipe("schedule.kind=constant", "schedule.patience=0")
    reports, _ = feed(Validator(VIDEOS, config, ALONE, Path()), [(0.5, 1.0)] * 5)
    assert [report["lr_factor"] for report in reports] == [1] * 5


def test_best_is_written_for_higher_top1_or_equal_with_lower_loss():
    figures = [(0.5, 1.0), (0.5, 1.0), (0.5, 0.9), (0.25, 0.1), (0.75, 3.0), (0.75, 3.1), (0.75, 2.0)]
    reports, written = feed(Validator(VIDEOS, recipe(), ALONE, Path()), figures)
    assert written == [0, 2, 4, 6]
    assert [report["best_top1"] for report in reports] == [0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 0.75]


def test_a_network_with_zero_top1_has_a_best_checkpoint():
    assert feed(Validator(VIDEOS, recipe(), ALONE, Path()), [(0.0, 5.0), (0.0, 6.0)])[1] == [0]


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.tuples(st.sampled_from([0.25, 0.5, 0.75]), losses), min_size=2, max_size=12), st.data())
def test_a_restored_validator_continues_identically(figures, data):
    cut = data.draw(st.integers(1, len(figures) - 1))
    config = recipe("schedule.patience=1")
    reports, _ = feed(Validator(VIDEOS, config, ALONE, Path()), figures)
    first, second = (Validator(VIDEOS, config, ALONE, Path()) for _ in range(2))
    before, _ = feed(first, figures[:cut])
    second.load_state_dict(first.state_dict())
    after, _ = feed(second, figures[cut:])
    np.testing.assert_equal(before + after, reports)


@pytest.mark.parametrize("every", [1, 2, 3])
@given(batches=st.integers(1, 9), accumulate=st.integers(1, 3), epochs=st.integers(1, 7))
def test_validations_are_due_at_epoch_ends_and_at_the_end(every, batches, accumulate, epochs):
    """An epoch ends with the optimizer step that uses its last batch."""
    if epochs * batches < accumulate:
        return
    validator = Validator(VIDEOS, recipe(f"validation.every={every}"), ALONE, Path())
    total = epochs * batches // accumulate
    run: Any = SimpleNamespace(epoch=lambda step: step * accumulate // batches, total_steps=total)
    ends = {-(-epoch * batches // accumulate) for epoch in range(every, epochs + 1, every)}
    due = [step for step in range(1, total + 1) if validator.due(run, step)]
    if batches >= accumulate:
        assert due == sorted({step for step in ends if step <= total} | {total})
    assert due[-1] == total
