"""The commands that `prepare` suggests next must work."""

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from configs.load import load
from configs.schema import Recognition, Validation
from dali_pipelines.datasets.hold_out import hold_out
from dali_pipelines.datasets.open import open_data
from dali_pipelines.next_steps import after_prepare, after_pretrain, recognition_recipe
from dali_pipelines.store.index import Index
from tests.helpers.runs import write_recipe
from trainers.commands import finetune, pretrain, test

pytestmark = pytest.mark.slow

PARSERS = {"pretrain": pretrain.make_parser(), "finetune": finetune.make_parser(), "test": test.make_parser()}


@pytest.fixture
def store(vp9_store, tmp_path) -> Path:
    """Copy twelve videos of two classes to a folder whose name needs quotes."""
    return shutil.copytree(vp9_store.root, tmp_path / "my videos")


def opened(line: str):
    """Return a command's config and the index of its training videos, which fill a batch after the hold-out."""
    program, name, *arguments = shlex.split(line)
    assert program == "clipfeed"
    args = PARSERS[name].parse_args(arguments)
    config = load(args.config, [*args.set, f"data.root={args.data_dir}"])
    index = open_data(config.data).index
    held = hold_out(index, config.validation.share, config.seed)[1] if isinstance(config, Recognition) else ()
    assert config.train.global_batch <= len(index) - len(held)
    return config, index


def test_after_prepare_suggests_recipes_for_all_videos(store):
    title, *lines = after_prepare(Index.load(store))
    assert title == "next:"
    for line in lines:
        config, index = opened(line)
        assert (len(index), config.train.global_batch, config.data.list) == (12, 8, None)
    assert [load(shlex.split(line)[3]).task for line in lines] == ["ctp", "recognition"]
    assert "--pretrained 'runs/my videos'" in lines[1]
    assert config.validation.share == Validation.share  # no list of test videos measures the classifier


def test_too_few_videos_to_hold_some_out_are_all_trained_on(store, tmp_path):
    index = Index.load(store)
    index.with_columns(labels=np.arange(len(index)), class_names=tuple(map(str, range(len(index))))).save()
    index = Index.load(store)
    run = load(write_recipe(tmp_path, store))
    assert recognition_recipe(run.task, run.backbone) == "recognition/demo"  # which holds a tenth out
    for line in (after_prepare(index)[2], next(line for line in after_pretrain(run, index) if " finetune " in line)):
        assert opened(line)[0].validation.share == 0


def test_suggestions_use_the_lists_of_the_dataset(store):
    names = [*Index.load(store).names.texts()]
    (store / "trainlist01.txt").write_text("\n".join(names[:7]))
    (store / "testlist01.txt").write_text("\n".join(names[7:]))
    for line in after_prepare(Index.load(store))[1:]:
        config, index = opened(line)
        assert [*index.names.texts()] == names[:7]
        assert config.train.global_batch == 4
    assert len(open_data(config.data, "test").index) == 5
    assert "data.test_list" not in line  # the recipe has it already


def test_without_classes_no_classifier_is_suggested(store):
    index = Index.load(store)
    index.with_columns(labels=index.labels * 0 - 1, class_names=()).save()
    assert [line.split()[1] for line in after_prepare(Index.load(store))[1:]] == ["pretrain"]


def test_after_pretrain_suggests_finetuning_its_backbone(store, tmp_path):
    names = [*Index.load(store).names.texts()]
    (store / "val.txt").write_text("\n".join(names[10:]))
    config = load(write_recipe(tmp_path, store, name="a run"), ["train.loggers=[tensorboard]"])
    lines = [line.strip() for line in after_pretrain(config, Index.load(store))]
    assert [re.sub(" -.*", "", line) for line in lines] == [
        "next:",
        "tensorboard",
        "clipfeed preview",
        "clipfeed finetune",
        "clipfeed test",
    ]
    tuned, index = opened(lines[3])
    assert (tuned.backbone, len(index)) == (config.backbone, 12)
    assert len(open_data(opened(lines[4])[0].data, "test").index) == 2
    assert all(str(tmp_path / "a run") in shlex.split(line.replace("/config.yaml", "")) for line in lines[1:])


@pytest.mark.parametrize(("of_run", "listed", "batch"), [(range(2), 9, 4), (range(3, 12), 3, 2)])
def test_after_pretrain_on_another_list_the_batch_is_that_of_the_training_list(of_run, listed, batch, store, tmp_path):
    """It was that of the videos of the run: too small if they were fewer, too large if they were more."""
    names = [*Index.load(store).names.texts()]
    (store / "train.txt").write_text("\n".join(names[:listed]))
    run = load(write_recipe(tmp_path, store))
    lines = after_pretrain(run, Index.load(store).select(of_run))
    tuned, index = opened(next(line for line in lines if " finetune " in line))
    assert (len(index), tuned.train.global_batch) == (listed, batch)


def test_videos_without_a_class_outside_the_training_list_do_not_matter(store):
    index = Index.load(store)
    index.with_columns(labels=np.where(np.arange(len(index)) < 9, index.labels, -1)).save()
    assert [line.split()[1] for line in after_prepare(Index.load(store))[1:]] == ["pretrain"]
    (store / "train.txt").write_text("\n".join([*index.names.texts()][:9]))
    assert [line.split()[1] for line in after_prepare(Index.load(store))[1:]] == ["pretrain", "finetune"]


@pytest.mark.parametrize(
    ("task", "backbone", "recipe"),
    [
        ("ctp", "r3d18", "recognition/ctp_r3d18_hmdb51"),
        ("moco", "r3d18", "recognition/ctp_r3d18_hmdb51"),
        ("cstp", "c3d", "recognition/cstp_c3d_ucf101"),
        ("ctp", "unheard_of", ""),
    ],
)
def test_recipes_of_the_task_are_suggested_before_others(task, backbone, recipe):
    assert recognition_recipe(task, backbone) == recipe
