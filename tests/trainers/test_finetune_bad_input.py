"""What people get wrong in finetuning: one line before training begins, and notes on odd splits."""

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.errors import UserError, run_cli
from configs.load import load
from configs.schema import Recognition
from dali_pipelines.datasets.open import open_dataset
from dali_pipelines.store.index import Index
from nets import backbones
from tests.helpers.finetuning import labeled, step_of_ctp, train
from tests.helpers.runs import write_recipe as write_pretraining
from tests.test_bad_input import cut
from trainers.commands import finetune, pretrain
from trainers.engine import checkpoint

pytestmark = pytest.mark.slow

SECOND_SPLIT = ("data.list=trainlist0{split}.txt", "data.test_list=testlist0{split}.txt", "data.split=2")
SCRATCH = ("--mode", "scratch", "--max-steps", 1)


@pytest.fixture(scope="module")
def root(vp9_store, tmp_path_factory) -> Path:
    return labeled(vp9_store, tmp_path_factory.mktemp("labeled"))


@pytest.fixture(scope="module")
def pretrained(root, tmp_path_factory) -> Path:
    return step_of_ctp(root, tmp_path_factory.mktemp("pretrained"))


def refused(folder: Path, dataset: Path, *args: object) -> str:
    """The message of a finetuning that ends before it writes anything."""
    with pytest.raises(UserError) as error:
        train(folder, dataset, *args)
    assert not (folder / "run" / "metrics.jsonl").exists()
    return str(error.value)


# Weights to start from.


def test_weights_of_another_backbone_are_refused_with_both_shapes(root, pretrained, tmp_path):
    ours, theirs = (backbones.create(name).state_dict() for name in ("r3d18", "r3d_tiny"))
    key = next(key for key in ours if key not in theirs or ours[key].shape != theirs[key].shape)
    line = refused(tmp_path, root, "--pretrained", pretrained, "--set", "backbone=r3d18")
    assert f"it has {key} {tuple(theirs[key].shape)}, the recipe's r3d18 has {key} {tuple(ours[key].shape)}" in line
    assert "the r3d_tiny of" in line
    assert str(pretrained) in line


def test_weights_that_are_missing_or_damaged_are_named(root, pretrained, tmp_path):
    gone = tmp_path / "gone.pt"
    assert f"no such checkpoint: {gone}" in refused(tmp_path, root, "--pretrained", gone)
    damaged = tmp_path / "damaged.pt"
    shutil.copy(pretrained / "checkpoints" / "step_00000001.pt", damaged)
    cut(damaged, 5000)
    assert f"{damaged} is damaged" in refused(tmp_path, root, "--pretrained", damaged)
    (tmp_path / "empty").mkdir()
    assert f"{tmp_path / 'empty'} holds no checkpoint" in refused(tmp_path, root, "--pretrained", tmp_path / "empty")


def test_weights_with_nan_are_named_and_not_trained_on(root, pretrained, tmp_path):
    """It was "lower optim.lr or look at these videos", after the first step."""
    content = checkpoint.read(pretrained / "checkpoints" / "step_00000001.pt")
    content["model"]["backbone.stem.0.weight"][0] = torch.nan
    checkpoint.write(tmp_path / "broken.pt", content)
    line = refused(tmp_path, root, "--pretrained", tmp_path / "broken.pt")
    assert line.startswith(f"{tmp_path / 'broken.pt'} holds nan or infinity in 1 of ")


def test_mode_and_weights_must_fit_each_other(root, pretrained, tmp_path):
    assert "--mode full needs --pretrained CKPT" in refused(tmp_path, root)
    line = refused(tmp_path, root, "--mode", "linear")
    assert "--mode linear needs --pretrained CKPT, or none for a frozen backbone of random weights" in line
    line = refused(tmp_path, root, "--mode", "scratch", "--pretrained", pretrained)
    assert "--mode scratch starts from random weights" in line


def test_a_run_that_began_in_another_mode_or_from_other_weights_is_refused(root, pretrained, tmp_path):
    train(tmp_path, root, "--mode", "linear", "--pretrained", pretrained, "--max-steps", 1)
    for change, named in ((("--mode", "full", "--pretrained", pretrained), "mode = 'linear', this run has 'full'"),
                          (("--mode", "linear", "--pretrained", "none"), "now means random weights")):  # fmt: skip
        with pytest.raises(UserError, match=named):
            train(tmp_path, root, *change)
    other = shutil.copy(pretrained / "checkpoints" / "step_00000001.pt", tmp_path / "other.pt")
    with Path(other).open("ab") as file:
        file.write(b"\0")  # behind the end of the archive, which readers do not mind
    message = (
        r"the run began with .*/step_00000001.pt \(SHA-256 \w{12}\.\.\.\), and --pretrained now means .*/other.pt \(SHA"
    )
    with pytest.raises(UserError, match=message):
        train(tmp_path, root, "--mode", "linear", "--pretrained", other)
    moved = shutil.copy(pretrained / "checkpoints" / "step_00000001.pt", tmp_path / "moved.pt")
    train(tmp_path, root, "--mode", "linear", "--pretrained", moved, "--max-steps", 2)


# Recipes.


def test_a_recipe_of_the_other_command_is_sent_there(root, tmp_path):
    pretext = write_pretraining(tmp_path, root)
    with pytest.raises(UserError, match=r"is a recipe for clipfeed pretrain; those here are in configs/recognition"):
        finetune.main(["--config", str(pretext), "--mode", "scratch"])
    train(tmp_path, root, "--print-config", name="recognition")
    with pytest.raises(UserError, match=r"recognition.yaml is a recipe for clipfeed finetune"):
        pretrain.main(["--config", str(tmp_path / "recognition.yaml")])


def test_a_pretraining_that_waits_for_plateaus_is_refused(root, tmp_path):
    recipe = write_pretraining(tmp_path, root)
    with pytest.raises(UserError, match=r"--set schedule.kind = 'plateau' must be another one: pretraining has no"):
        pretrain.main(["--config", str(recipe), "--set", "schedule.kind=plateau"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("validation.share=0", "schedule.kind plateau waits for the validation loss: set validation.share above 0"),
        ("validation.share=0.01", "validation.share = 0.01 keeps none of 10 training videos for validation"),
        ("validation.share=1", "--set validation.share = 1.0 must be at least 0 and below 1"),
        ("validation.every=0", "--set validation.every = 0 must be at least 1"),
        ("optim.lr_factors=[[head, 2]]", "optim.lr_factors: the network has no part head; it has backbone, linear"),
        ("optim.lr_factors=[[backbone, 0]]", "--set optim.lr_factors of backbone = 0.0 must be greater than 0"),
        ("optim.lr_factors=[backbone]", "--set optim.lr_factors.0: expected a list of 2: text, a number"),
        ("plan.size=64", "plan.test.short_side = 36 must be at least size = 64, the side of the crop"),
        ("plan.test.clips=0", "--set plan.test.clips = 0 must be at least 1, windows or random"),
        ("plan.test.clips=all", "--set plan.test.clips: expected "),
        ("plan.test.crops=four", "--set plan.test.crops: expected one of center, three, five, ten, got 'four'"),
        ("plan.strides=[1]", "--set plan.strides: no such key; did you mean plan.stride?"),
        ("net.dropout=1", "--set net.dropout = 1.0 must be at least 0 and below 1"),
        ("train.global_batch=7", "has 6 videos, fewer than one global batch of 7"),
        ("backbone=r3d_18", "backbone: no 'r3d_18'; did you mean r3d18?; there are: r3d18, "),
    ],
)
def test_a_wrong_setting_names_key_and_value(root, tmp_path, change, message):
    assert message in refused(tmp_path, root, *SCRATCH, "--set", change)


def test_batch_norm_of_features_needs_more_than_one_video_a_batch(root, tmp_path):
    one = ("--set", "net.batch_norm=true", "--set", "train.accumulate=3")
    line = refused(tmp_path, root, *SCRATCH, *one)
    assert "net.batch_norm needs at least 2 videos in each batch of a rank, not 1: raise train.global_batch" in line
    train(tmp_path, root, *SCRATCH, *one[:2])


# Datasets and lists.


def copied(root: Path, folder: Path) -> Path:
    shutil.copytree(root, folder / "store")
    return folder / "store"


def test_videos_without_a_class_are_refused(root, tmp_path):
    store = copied(root, tmp_path)
    index = Index.load(store)
    labels = index.labels.copy()
    labels[3] = -1
    index.with_columns(labels=labels).save()
    line = refused(tmp_path, store, *SCRATCH, "--set", "data.list=null")
    assert line.startswith(f"{store} has 1 videos without a class, the first {index.names.text(3)}; prepare it again")


def test_lists_that_are_missing_or_name_missing_videos_are_named(root, tmp_path):
    store = copied(root, tmp_path)
    split = [word for change in SECOND_SPLIT for word in ("--set", change)]
    line = refused(tmp_path, store, *SCRATCH, *split)
    assert f"cannot read the list of videos '{store / 'trainlist02.txt'}'" in line
    for name in ("train", "test"):
        (store / f"{name}.txt").write_text("class0/video00.avi 1\nclass1/gone.avi 2\n")
        line = refused(tmp_path, store, *SCRATCH)
        assert f"{store / name}.txt names 1 videos that {store} does not hold (class1/gone.avi)" in line
        shutil.copy(root / f"{name}.txt", store)
    select = ("--set", "validation.reference.select_on_test=true")
    assert "data.test_list: missing" in refused(tmp_path, store, *SCRATCH, *select, "--set", "data.test_list=null")


def test_a_list_of_other_classes_is_refused(root, tmp_path):
    store = copied(root, tmp_path)
    names = [line.split()[0] for line in (store / "train.txt").read_text().splitlines()]
    (store / "train.txt").write_text("".join(f"{name} {number}\n" for number, name in enumerate(names)))
    line = refused(tmp_path, store, *SCRATCH)
    assert f"{store / 'train.txt'} tells 10 classes apart, {store} has 2 for its videos" in line


def test_classes_that_are_tested_and_never_trained_are_noted(root, tmp_path, capsys):
    store = copied(root, tmp_path)
    names = [line for line in (store / "train.txt").read_text().splitlines() if line.startswith("class0")]
    (store / "train.txt").write_text("\n".join(names))
    train(tmp_path, store, *SCRATCH)
    output = capsys.readouterr().out
    assert "note: 1 of 2 classes have no training video (class1); the test has 1 videos of them" in output
    assert "training videos too" not in output


def test_a_test_list_that_is_not_there_is_noted_before_the_training(root, tmp_path, capsys):
    train(tmp_path, root, *SCRATCH, "--set", "data.test_list=gone.txt")
    output = capsys.readouterr().out
    assert f"note: data.test_list: there is no {root / 'gone.txt'}; clipfeed test will need it" in output


def test_test_videos_that_are_trained_on_are_noted_with_their_number(root, tmp_path, capsys):
    everything = ("--set", "data.list=null", "--set", "validation.share=0", "--set", "schedule.kind=constant")
    train(tmp_path, root, *SCRATCH, *everything)
    assert "note: 2 of 2 test videos are training videos too, such as class0/video10: " in capsys.readouterr().out
    train(tmp_path, root, *SCRATCH, *everything[2:], name="proper")
    assert "trained on too" not in capsys.readouterr().out


def test_a_video_that_cannot_be_read_in_validation_is_named_and_the_run_goes_on(root, tmp_path, caplog):
    store = copied(root, tmp_path)
    run = train(tmp_path, root, *SCRATCH)
    rows = torch.load(run / "checkpoints" / "step_00000001.pt", weights_only=True)["identity"]["videos"]
    assert rows == 6
    index = Index.load(store)
    config = load(tmp_path / "run.yaml", [f"data.root={store}"])
    assert isinstance(config, Recognition)
    listed = open_dataset(config.data.root, config.data.list_of("train"), labeled=True)
    _, held = finetune.split(config, listed.index)
    assert held is not None
    lost = held.names.text(0)
    index.path(list(index.names.texts()).index(lost)).unlink()
    caplog.clear()
    train(tmp_path, store, "--mode", "scratch", "--max-steps", 2, name="lossy")
    assert [message.partition(" is unreadable")[0] for message in caplog.messages] == [lost]
    assert "step_00000002.pt" in {path.name for path in (tmp_path / "lossy" / "checkpoints").iterdir()}
    assert np.isfinite(
        torch.load(tmp_path / "lossy" / "checkpoints" / "best.pt", weights_only=True)["validation"]["loss"]
    )


def test_the_command_ends_in_one_line_and_status_2(root, tmp_path, monkeypatch, capsys):
    train(tmp_path, root, "--print-config")
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["finetune.py", "--config", str(tmp_path / "run.yaml")])
    with pytest.raises(SystemExit) as end:
        run_cli(finetune.main)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --mode full needs --pretrained CKPT; with --mode scratch training starts")
