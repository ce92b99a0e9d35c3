"""The real `trainers/finetune.py` on a small dataset: modes, resuming, validation and output files."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

from bench.faults.same import same
from nets import backbones
from nets.classifier import Classifier, Config
from tests.helpers.finetuning import read, train, validations
from tests.helpers.loop import assert_same_weights, history, weights
from trainers.engine import loop
from trainers.engine.metrics import Metrics
from trainers.evaluation.validation import Validator

pytestmark = pytest.mark.slow

STEPS = 8  # 4 epochs of 6 // 3; two of five videos per class are held out


def backbone_of(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in state.items() if name.startswith("backbone.")}


@pytest.fixture(scope="module")
def whole(root, pretrained, tmp_path_factory) -> Path:
    """Return a folder with an uninterrupted full finetuning of a pretrained network."""
    folder = tmp_path_factory.mktemp("whole")
    train(folder, root, "--pretrained", pretrained)
    return folder


def assert_ends_as(whole: Path, tmp_path: Path) -> None:
    """Check that a run has the same steps, validations, last checkpoint and best checkpoint."""
    run = tmp_path / "run"
    assert history(tmp_path) == history(whole)
    assert validations(run) == validations(whole / "run")
    ours, theirs = (read(folder / "checkpoints" / f"step_{STEPS:08d}.pt") for folder in (run, whole / "run"))
    assert_same_weights(ours["model"], theirs["model"])
    assert ours["validator"] == theirs["validator"]
    ours, theirs = (read(folder / "checkpoints" / "best.pt") for folder in (run, whole / "run"))
    assert_same_weights(ours["model"], theirs["model"])
    assert (ours["step"], ours["validation"]) == (theirs["step"], theirs["validation"])


def test_full_starts_from_the_pretrained_backbone_and_trains_everything(whole, pretrained, root, tmp_path):
    start = backbone_of(read(pretrained / "checkpoints" / "step_00000001.pt")["model"])
    train(tmp_path, root, "--pretrained", pretrained, "--max-steps", 1, "--set", "optim.lr=1e-12")
    for name, value in backbone_of(weights(tmp_path, 1)).items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(value, start[name], rtol=0, atol=1e-9)
    trained = backbone_of(weights(whole, STEPS))
    assert trained.keys() == start.keys()
    assert [name for name, value in trained.items() if torch.equal(value, start[name])] == []


def test_linear_trains_only_the_classifier(root, pretrained, tmp_path):
    """Including batch norm's running statistics."""
    start = read(pretrained / "checkpoints" / "step_00000001.pt")["model"]
    train(tmp_path, root, "--mode", "linear", "--pretrained", pretrained, "--max-steps", 3)
    ours, first = weights(tmp_path, 3), weights(tmp_path, 1)
    assert any("running_var" in name for name in ours)
    assert_same_weights(backbone_of(ours), backbone_of(start))
    assert not torch.equal(ours["linear.weight"], first["linear.weight"])
    assert not torch.equal(ours["linear.bias"], first["linear.bias"])


def test_scratch_starts_from_the_weights_of_its_seed(root, tmp_path):
    train(tmp_path, root, "--mode", "scratch", "--max-steps", 1, "--set", "optim.lr=1e-12")
    torch.manual_seed(7)
    fresh = Classifier(backbones.create("r3d_tiny"), 2, Config()).state_dict()
    for name, value in weights(tmp_path, 1).items():
        if name.endswith(("weight", "bias")):
            torch.testing.assert_close(value, fresh[name], rtol=0, atol=1e-9)


def test_the_rate_falls_after_each_validation_without_improvement(whole):
    measured = validations(whole / "run")
    assert [line["step"] for line in measured] == [2, 4, 6, 8]
    lowest, factor = float("inf"), 1.0
    for line in measured:
        lower = line["loss"] < lowest * (1 - 1e-4)
        lowest, factor = (line["loss"], factor) if lower else (lowest, factor / 2)
        assert line["lr_factor"] == factor
    assert factor < 1
    factors = [1.0, *(line["lr_factor"] for line in measured)]
    assert [line["lr"] for line in history(whole)] == [0.1 * factors[step // 2] for step in range(STEPS)]


def test_best_has_the_highest_top1_then_the_lowest_loss(whole):
    measured, best = validations(whole / "run"), read(whole / "run" / "checkpoints" / "best.pt")
    winner = max(measured, key=lambda line: (line["top1"], -line["loss"]))
    assert best["step"] == winner["step"]
    assert best["validation"] == {"top1": winner["top1"], "loss": winner["loss"], "videos": 4}
    assert best["classes"] == ["class0", "class1"]
    assert_same_weights(best["model"], weights(whole, winner["step"]))
    tops = [line["top1"] for line in measured]
    assert [line["best_top1"] for line in measured] == [max(tops[: n + 1]) for n in range(4)]


@pytest.mark.parametrize("stop", [3, 4])
def test_resume_is_bit_identical(whole, root, pretrained, tmp_path, stop):
    """Cut in mid-epoch, and right after a validation."""
    train(tmp_path, root, "--pretrained", pretrained, "--max-steps", stop)
    run = train(tmp_path, root, "--pretrained", pretrained)
    assert_ends_as(whole, tmp_path)
    assert read(run / "checkpoints" / f"step_{STEPS:08d}.pt")["validator"]["lr_factor"] < 1


def test_sigterm_during_validation_saves_and_resumes(whole, root, pretrained, tmp_path, monkeypatch, capsys):
    def send_sigterm(validator: Validator, *args):
        os.kill(os.getpid(), signal.SIGTERM)
        return validate(validator, *args)

    validate = Validator.__call__
    with monkeypatch.context() as patch:
        patch.setattr(Validator, "__call__", send_sigterm)
        train(tmp_path, root, "--pretrained", pretrained)
    assert "stopped by SIGTERM after step 3 of 8; the same command goes on from" in capsys.readouterr().out
    train(tmp_path, root, "--pretrained", pretrained)
    assert_ends_as(whole, tmp_path)


@pytest.mark.parametrize("stop", [2, STEPS])
def test_sigterm_before_a_validation_saves_and_resumes_with_it(
    whole, root, pretrained, tmp_path, monkeypatch, capsys, stop
):
    def send_sigterm(run, batches, step, **options):
        if step + 1 == stop:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(run, batches, step, **options)

    train_step = loop.train_step
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", send_sigterm)
        run = train(tmp_path, root, "--pretrained", pretrained)
    assert f"stopped by SIGTERM after step {stop} of 8; the same command goes on from" in capsys.readouterr().out
    assert read(run / "checkpoints" / f"step_{stop:08d}.pt")["step"] == stop
    measured = validations(run) if (run / "validation.jsonl").exists() else []
    assert [line["step"] for line in measured] == [step for step in (2, 4, 6, 8) if step < stop]
    train(tmp_path, root, "--pretrained", pretrained)
    assert_ends_as(whole, tmp_path)
    capsys.readouterr()
    train(tmp_path, root, "--pretrained", pretrained)
    assert "nothing to do" in capsys.readouterr().out


class Killed(BaseException):
    pass


@pytest.mark.parametrize("where", [(Validator, "__call__"), (Metrics, "add_validation")])
def test_a_kill_in_a_validation_loses_no_step_and_reports_it_once(
    whole, root, pretrained, tmp_path, monkeypatch, where
):
    """In the second of four validations and in the last, just before or just after its line is written."""
    real, calls = getattr(*where), []

    def kill_in_second_and_last(*args):
        result = real(*args)
        calls.append(args)
        if len(calls) in (2, 5):
            raise Killed
        return result

    with monkeypatch.context() as patch:
        patch.setattr(*where, kill_in_second_and_last)
        for step in (4, 8):
            with pytest.raises(Killed):
                train(tmp_path, root, "--pretrained", pretrained)
            assert read(tmp_path / "run" / "checkpoints" / f"step_{step:08d}.pt")["validator"]["pending"]
    train(tmp_path, root, "--pretrained", pretrained)
    assert_ends_as(whole, tmp_path)
    assert same(
        *(read(folder / "run" / "checkpoints" / "step_00000008.pt")["optimizer"] for folder in (tmp_path, whole))
    )


CONSTANT = ("--mode", "scratch", "--set", "schedule.kind=constant")


def test_share_0_trains_on_all_videos_without_validation(root, tmp_path):
    run = train(tmp_path, root, *CONSTANT, "--set", "validation.share=0", "--max-steps", 2)
    assert read(run / "checkpoints" / "step_00000002.pt")["identity"]["videos"] == 10
    assert not (run / "validation.jsonl").exists()
    assert not (run / "checkpoints" / "best.pt").exists()


def test_resume_with_random_augmentation_is_bit_identical(root, tmp_path):
    keys = ["backbone=vit_tiny", "validation.share=0", "train.epochs=1", "plan.repeats=2"]
    keys += ["optim.layer_decay=0.75", "net.layer_norm=true", "net.drop_path=0.5", "net.rand_augment=[2,21]"]
    keys += ["net.erase_prob=0.5", "net.mixup=0.8", "net.cutmix=1.0", "net.label_smoothing=0.1", "optim.lr_factors=[]"]
    with_augmentation = (*CONSTANT, *(word for key in keys for word in ("--set", key)))
    whole = train(tmp_path, root, *with_augmentation, name="whole")
    train(tmp_path, root, *with_augmentation, "--max-steps", 2, name="parts")
    parts = train(tmp_path, root, *with_augmentation, name="parts")
    ours, theirs = (read(run / "checkpoints" / "step_00000003.pt")["model"] for run in (parts, whole))
    assert_same_weights(ours, theirs)
    first = read(whole / "checkpoints" / "step_00000001.pt")["model"]
    assert [name for name, value in first.items() if torch.equal(value, theirs[name])] == []


def test_select_on_test_trains_on_all_and_validates_on_the_test_videos(root, tmp_path):
    on_test = (*CONSTANT, "--set", "train.epochs=1", "--set", "validation.reference.select_on_test=true")
    run = train(tmp_path, root, *on_test)
    best = read(run / "checkpoints" / "best.pt")
    assert best["identity"]["videos"] == 10
    assert best["validation"]["videos"] == 2
    assert best["validation"]["top1"] in (0, 0.5, 1)
    assert [line["step"] for line in validations(run)] == [3]


def test_validation_may_be_added_on_resume(root, tmp_path):
    train(tmp_path, root, *CONSTANT, "--set", "validation.share=0", "--max-steps", 1)
    run = train(tmp_path, root, *CONSTANT, "--set", "validation.reference.select_on_test=true", "--max-steps", 3)
    assert [line["step"] for line in validations(run)] == [3]


def test_validation_every_three_epochs_and_at_the_end(root, tmp_path):
    run = train(tmp_path, root, *CONSTANT, "--set", "validation.every=3")
    assert [line["step"] for line in validations(run)] == [6, 8]


def test_resume_in_another_work_dir_copies_or_resets_the_best_checkpoint(whole, root, pretrained, tmp_path, capsys):
    """best_top1 was once kept without best.pt, so the test silently measured the newest checkpoint."""
    folder = whole / "run" / "checkpoints"
    best = read(folder / "best.pt")
    later = ("--pretrained", pretrained, "--set", "train.epochs=5", "--resume")
    run = train(tmp_path, root, *later, folder / f"step_{STEPS:08d}.pt", "--max-steps", STEPS + 1)
    assert f"note: {run}/checkpoints/best.pt was copied from {folder}\n" in capsys.readouterr().out
    assert_same_weights(read(run / "checkpoints" / "best.pt")["model"], best["model"])
    assert read(run / "checkpoints" / f"step_{STEPS + 1:08d}.pt")["run"] == best["run"]

    alone = tmp_path / f"step_{STEPS:08d}.pt"
    shutil.copy(folder / alone.name, alone)
    other = train(tmp_path, root, *later, alone, name="other")
    note = f"note: the best checkpoint up to step {STEPS} is not in {tmp_path}: the search for it begins anew"
    assert note in capsys.readouterr().out
    (line,) = validations(other)
    assert line["best_top1"] == line["top1"]
    assert read(other / "checkpoints" / "best.pt")["step"] == line["step"] == 10
