"""User errors in finetuning end in one line before training begins; odd splits get notes."""

import shutil
from pathlib import Path

import pytest

from configs.errors import UserError
from dali_pipelines.store.index import Index
from tests.helpers.finetuning import train
from tests.helpers.runs import write_recipe as write_pretraining
from trainers.commands import finetune, pretrain

pytestmark = pytest.mark.slow

SCRATCH = ("--mode", "scratch", "--max-steps", 1)


def refused(folder: Path, dataset: Path, *args: object) -> str:
    """Return the error of a finetuning that fails before it writes anything."""
    with pytest.raises(UserError) as error:
        train(folder, dataset, *args)
    assert not (folder / "run" / "metrics.jsonl").exists()
    return str(error.value)


# Weights to start from.


def test_mode_and_weights_must_agree(root, pretrained, tmp_path):
    assert "--mode full needs --pretrained CKPT" in refused(tmp_path, root)
    line = refused(tmp_path, root, "--mode", "linear")
    assert "--mode linear needs --pretrained CKPT, or none for a frozen backbone of random weights" in line
    line = refused(tmp_path, root, "--mode", "scratch", "--pretrained", pretrained)
    assert "--mode scratch starts from random weights" in line


def test_resume_in_another_mode_or_from_other_weights_is_refused(root, pretrained, tmp_path):
    train(tmp_path, root, "--mode", "linear", "--pretrained", pretrained, "--max-steps", 1)
    for change, named in ((("--mode", "full", "--pretrained", pretrained), "mode = 'linear', this run has 'full'"),
                          (("--mode", "linear", "--pretrained", "none"), "now means random weights")):  # fmt: skip
        with pytest.raises(UserError, match=named):
            train(tmp_path, root, *change)
    other = shutil.copy(pretrained / "checkpoints" / "step_00000001.pt", tmp_path / "other.pt")
    with Path(other).open("ab") as file:
        file.write(b"\0")  # after the archive, which readers ignore
    message = (
        r"the run began with .*/step_00000001.pt \(SHA-256 \w{12}\.\.\.\), and --pretrained now means .*/other.pt \(SHA"
    )
    with pytest.raises(UserError, match=message):
        train(tmp_path, root, "--mode", "linear", "--pretrained", other)
    moved = shutil.copy(pretrained / "checkpoints" / "step_00000001.pt", tmp_path / "moved.pt")
    train(tmp_path, root, "--mode", "linear", "--pretrained", moved, "--max-steps", 2)


def test_labels_that_changed_during_a_run_are_refused(root, tmp_path):
    """The lists and the names of the videos are the same, as are those that are held out: none."""
    dataset = shutil.copytree(root, tmp_path / "dataset")
    options = ("--mode", "scratch", "--set", "validation.share=0", "--set", "schedule.kind=cosine")
    train(tmp_path, dataset, *options, "--max-steps", 1)
    index = Index.load(dataset)
    for changes in ({"labels": 1 - index.labels}, {"class_names": (*index.class_names, "third")}):
        index.with_columns(**changes).save()
        with pytest.raises(UserError, match=r"step 1 was trained on the same videos, some of another class"):
            train(tmp_path, dataset, *options, "--max-steps", 2)
    index.save()
    train(tmp_path, dataset, *options, "--max-steps", 2)


# Recipes.


def test_a_recipe_of_the_other_command_names_it(root, tmp_path):
    pretext = write_pretraining(tmp_path, root)
    with pytest.raises(UserError, match=r"is a recipe for clipfeed pretrain; `clipfeed recipes recognition`"):
        finetune.main(["--config", str(pretext), "--mode", "scratch"])
    train(tmp_path, root, "--print-config", name="recognition")
    with pytest.raises(UserError, match=r"recognition.yaml is a recipe for clipfeed finetune"):
        pretrain.main(["--config", str(tmp_path / "recognition.yaml")])


def test_plateau_schedule_is_refused_for_pretraining(root, tmp_path):
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
        ("plan.test.clips=0", "--set plan.test.clips = 0 must be from 1 to 1000, windows or random"),
        ("plan.test.clips=all", "--set plan.test.clips: expected "),
        ("plan.test.crops=four", "--set plan.test.crops: expected one of center, three, five, ten, got 'four'"),
        ("plan.strides=[1]", "--set plan.strides: no such key; did you mean plan.stride?"),
    ],
)
def test_an_invalid_setting_names_key_and_value(root, tmp_path, change, message):
    assert message in refused(tmp_path, root, *SCRATCH, "--set", change)


def test_feature_batch_norm_needs_two_videos_per_batch(root, tmp_path):
    one = ("--set", "net.batch_norm=true", "--set", "train.accumulate=3")
    line = refused(tmp_path, root, *SCRATCH, *one)
    assert "net.batch_norm needs at least 2 videos in each batch of a rank, not 1: raise train.global_batch" in line
    train(tmp_path, root, *SCRATCH, *one[:2])


# Datasets and lists.


def test_classes_tested_but_never_trained_are_noted(root, tmp_path, capsys):
    store = shutil.copytree(root, tmp_path / "store")
    names = [line for line in (store / "train.txt").read_text().splitlines() if line.startswith("class0")]
    (store / "train.txt").write_text("\n".join(names))
    train(tmp_path, store, *SCRATCH)
    output = capsys.readouterr().out
    assert "note: no training video of 1 of 2 classes (class1); 1 test video of such a class" in output
    assert "also in the training list" not in output


def test_a_missing_test_list_is_noted_before_training(root, tmp_path, capsys):
    train(tmp_path, root, *SCRATCH, "--set", "data.test_list=gone.txt")
    output = capsys.readouterr().out
    assert f"note: data.test_list: there is no {root / 'gone.txt'}; clipfeed test will need it" in output


def test_test_videos_in_the_training_list_are_counted_in_a_note(root, tmp_path, capsys):
    everything = ("--set", "data.list=null", "--set", "validation.share=0", "--set", "schedule.kind=constant")
    train(tmp_path, root, *SCRATCH, *everything)
    assert "note: 2 of 2 test videos also in the training list, such as class0/video10: " in capsys.readouterr().out
    train(tmp_path, root, *SCRATCH, *everything[2:], name="proper")
    assert "also in the training list" not in capsys.readouterr().out
