"""Testing a classifier with the real command gives the same figures however it runs."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from configs.errors import UserError
from configs.load import dump, load
from dali_pipelines.datasets.open import open_dataset
from nets.backbones import create
from nets.classifier import Classifier
from nets.classifier import Config as NetConfig
from tests.helpers.classified import (
    CLASSES,
    CLIPS,
    RECIPE,
    changed_checkpoint,
    saved,
    train_guesser,
    video_test,
    with_classes,
)
from tests.helpers.ranks import two_ranks
from tests.helpers.results import result, rows
from tests.helpers.runs import ROOT
from tests.helpers.scores import slow_scores
from trainers.engine import checkpoint
from trainers.evaluation.intervals import wilson

pytestmark = pytest.mark.slow

TEST = ROOT / "trainers" / "test.py"


@pytest.fixture(scope="module")
def trained(vp9_store, tmp_path_factory) -> Path:
    return train_guesser(vp9_store, tmp_path_factory.mktemp("trained"))


@pytest.fixture(scope="module")
def tested(trained) -> Path:
    """Return the output folder of a test with default options."""
    video_test("--checkpoint", trained / "run")
    return trained / "run" / "test_video"


# Figures


def test_scores_and_figures_match_plain_torch(trained, tested):
    net = Classifier(create("r3d_tiny"), 3, NetConfig())
    (path,) = (trained / "run" / "checkpoints").glob("*.pt")
    net.load_state_dict(checkpoint.read(path)["model"])
    index = open_dataset(trained / "data", trained / "data" / "test.txt").index
    expected = slow_scores(net.eval(), index, CLIPS)
    found, figures = saved(tested), result(tested)
    assert np.allclose(found.scores, expected, rtol=1e-4, atol=1e-5)
    assert found.names.tolist() == list(index.names.texts())
    assert found.labels.tolist() == index.labels.tolist()
    assert found.classes.tolist() == list(CLASSES)
    right = expected.argmax(1) == index.labels
    assert 0 < right.sum() < 11
    assert len(set(expected.argmax(1))) > 1
    assert figures["top1"] == right.mean()
    assert figures["top1_interval"] == list(wilson(int(right.sum()), 11))
    assert figures["mean_class_accuracy"] == pytest.approx(np.mean([right[index.labels == k].mean() for k in range(3)]))
    assert (figures["top5"], figures["videos"], figures["views"], figures["unreadable"]) == (None, 11, 33, {})
    assert figures["checkpoint"] == str(path)
    assert figures["plan"]["test"] == {**vars(CLIPS.test), "reference": vars(CLIPS.test.reference)}
    assert [row["video"] for row in rows(tested / "predictions.csv")] == found.names.tolist()
    assert [row["predicted"] for row in rows(tested / "predictions.csv")] == [CLASSES[k] for k in expected.argmax(1)]
    assert [int(row["correct"]) for row in rows(tested / "predictions.csv")] == right.tolist()


def test_unreadable_videos_count_as_wrong_on_one_rank_and_two(trained, tested, tmp_path):
    shutil.copytree(trained / "data", tmp_path / "data")
    index = open_dataset(tmp_path / "data", tmp_path / "data" / "test.txt").index
    short, garbled = index.path(1), index.path(8)
    short.write_bytes(short.read_bytes()[:900])
    data = bytearray(garbled.read_bytes())
    data[900:] = np.random.default_rng(0).bytes(len(data) - 900)
    garbled.write_bytes(data)
    args = ["--checkpoint", trained / "run", "--data-dir", tmp_path / "data", "--out"]
    video_test(*args, tmp_path / "one")
    options = ("--protocol", "video", "--device", "cpu", *args, tmp_path / "two")
    statuses, output = two_ranks(TEST, tmp_path, *options)
    assert statuses == [0, 0]
    assert output.count("top-1 ") == 1
    assert "top-1 " not in (tmp_path / "rank1.out").read_text()
    bad = [index.info(row).name for row in (1, 8)]
    (line,) = [line for line in output.splitlines() if line.startswith("unreadable")]
    assert "2 " in line
    assert all(name in line for name in bad)
    one, two = (result(tmp_path / name) for name in ("one", "two"))
    assert set(one["unreadable"]) == set(two["unreadable"]) == set(bad)
    assert one | {"unreadable": 0} == two | {"unreadable": 0}
    before, alone, shared = saved(tested), saved(tmp_path / "one"), saved(tmp_path / "two")
    whole = [row for row in range(11) if row not in (1, 8)]
    assert np.array_equal(alone.scores[whole], before.scores[whole])
    assert np.isnan(alone.scores[[1, 8]]).all()
    assert np.allclose(alone.scores, shared.scores, rtol=1e-4, atol=1e-5, equal_nan=True)  # thread counts differ
    right = (before.scores.argmax(1) == before.labels)[whole].sum()
    assert two["top1"] == right / 11
    for name in ("one", "two"):
        listed = {row["video"]: row for row in rows(tmp_path / name / "predictions.csv")}
        assert all(listed[video]["predicted"] == "unreadable" and listed[video]["correct"] == "0" for video in bad)
        column = {row["class"]: int(row["unreadable"]) for row in rows(tmp_path / name / "confusion.csv")}
        assert column == dict(zip(CLASSES, np.bincount(index.labels[[1, 8]], minlength=3).tolist(), strict=True))


def test_results_do_not_depend_on_list_order(trained, tested, tmp_path):
    lines = (trained / "data" / "test.txt").read_text().splitlines()
    order = np.random.default_rng(0).permutation(11)
    (tmp_path / "other.txt").write_text("".join(f"{lines[row]}\n" for row in order))
    video_test("--checkpoint", trained / "run", "--out", tmp_path, "--set", f"data.test_list={tmp_path / 'other.txt'}")
    found, before = saved(tmp_path), saved(tested)
    assert found.names.tolist() == before.names[order].tolist()
    assert np.array_equal(found.scores, before.scores[order])
    assert result(tmp_path) | {"data": 0} == result(tested) | {"data": 0}
    assert (tmp_path / "confusion.csv").read_text() == (tested / "confusion.csv").read_text()


def test_classes_are_matched_by_name_in_any_order(trained, tested, tmp_path):
    names = ("jump", "run", "walk")
    labels = np.array([names.index(CLASSES[row % 3]) for row in range(12)])
    data = with_classes(trained, tmp_path / "data", names, labels)
    video_test("--checkpoint", trained / "run", "--data-dir", data, "--out", tmp_path / "out")
    for name in ("predictions.csv", "per_class.csv", "confusion.csv"):
        assert (tmp_path / "out" / name).read_text() == (tested / name).read_text()
    same = {"data": 0, "notes": 0}  # training videos are known only for the training dataset
    assert result(tmp_path / "out") | same == result(tested) | same


def test_clips_crops_and_split_are_options(trained, tmp_path, capsys):
    args = ["--checkpoint", trained / "run", "--out", tmp_path, "--clips", "windows", "--crops", "five"]
    with pytest.raises(UserError, match=r"data.split = 2 changes nothing in data.test_list = 'test.txt': put {split} "):
        video_test(*args, "--set", "data.split=2")
    shutil.copy(trained / "data" / "test.txt", trained / "data" / "test2.txt")
    video_test(*args, "--set", "data.split=2", "--set", "data.test_list=test{split}.txt", "--set", "plan.num_frames=8")
    frames = open_dataset(trained / "data", trained / "data" / "test.txt").index.num_frames.tolist()
    windows = [(count - 16) // 7 + 1 + ((count - 16) % 7 > 0) for count in frames]
    assert result(tmp_path)["views"] == 5 * sum(windows)
    assert result(tmp_path)["plan"]["test"]["clips"] == "windows"
    printed = capsys.readouterr().out
    assert "trained on split 1 and is tested on split 2" in printed
    assert "plan.num_frames is 8; the network was pretrained with 4" in printed
    notes = result(tmp_path)["notes"]
    assert len(notes) == 3
    assert notes[-1].startswith("11 of 11 test videos also in the training list, such as class0/video02: ")


def test_classes_missing_from_the_training_list_are_noted(trained, tmp_path, capsys):
    """According to the training list of the checkpoint's recipe."""
    names = (trained / "data" / "test.txt").read_text().splitlines()
    (trained / "data" / "some.txt").write_text("class0/video00\n")
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(RECIPE.format(folder=trained))
    config = load(recipe, ["data.list=some.txt", "data.test_list=none.txt"])
    path = changed_checkpoint(trained, tmp_path, config=dump(config))
    (trained / "data" / "none.txt").write_text("\n".join(names))
    video_test("--checkpoint", path, "--clips", 1)
    printed = capsys.readouterr().out
    assert "also in the training list" not in printed
    assert "note: no training video of 2 of 3 classes (jump, run); 8 test videos of such a class" in printed
    lost = changed_checkpoint(trained, tmp_path, config=dump(load(recipe, ["data.list=gone.txt"])))
    video_test("--checkpoint", lost, "--clips", 1)
    assert "note:" not in capsys.readouterr().out


def test_the_best_of_another_run_is_never_tested(trained, tmp_path):
    shutil.copytree(trained / "run", tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    for run in ("0123456789ab", ""):  # another run, and one without an id
        shutil.copy(changed_checkpoint(trained, tmp_path, run=run), best)
        with pytest.raises(
            UserError, match=r"best.pt is of another run than step_00000001.pt beside it; say which one"
        ):
            video_test("--checkpoint", tmp_path / "run")
    video_test("--checkpoint", best, "--clips", 1)
