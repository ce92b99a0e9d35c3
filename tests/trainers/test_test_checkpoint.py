"""Which checkpoint a test takes, and one-line errors for settings that do not fit together."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from configs.errors import UserError
from tests.helpers.classified import CLASSES, RECIPE, changed_checkpoint, saved, train_guesser, video_test, with_classes
from tests.helpers.results import result
from tests.helpers.runs import write_recipe
from trainers.commands import pretrain
from trainers.commands import test as testing
from trainers.engine import checkpoint
from trainers.evaluation.protocols import PROTOCOLS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def trained(vp9_store, tmp_path_factory) -> Path:
    return train_guesser(vp9_store, tmp_path_factory.mktemp("trained"))


def test_the_best_checkpoint_of_a_run_is_tested_and_must_be_intact(trained, tmp_path, capsys):
    shutil.copytree(trained / "run", tmp_path / "run")
    best = tmp_path / "run" / "checkpoints" / "best.pt"
    shutil.copy(changed_checkpoint(trained, tmp_path, step=77), best)
    video_test("--checkpoint", tmp_path / "run", "--clips", 1)
    assert f"checkpoint  {best} (r3d_tiny, step 77)" in capsys.readouterr().out
    assert result(tmp_path / "run" / "test_video")["step"] == 77
    best.write_bytes(best.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"best.pt is damaged .*; choose another one of .* with --checkpoint FILE.pt"):
        video_test("--checkpoint", tmp_path / "run")


def test_a_checkpoint_without_class_names_is_noted(trained, tmp_path, capsys):
    video_test("--checkpoint", changed_checkpoint(trained, tmp_path, classes=[]), "--clips", 1)
    assert "does not name its classes; they are taken to be in the dataset's order" in capsys.readouterr().out
    assert saved(tmp_path / "test_video").classes.tolist() == list(CLASSES)


def test_other_classes_are_refused_with_counts_and_names(trained, tmp_path):
    labels = np.arange(12) % 3
    renamed = with_classes(trained, tmp_path / "renamed", ("walk", "jump", "fly"), labels)
    message = (
        r"has 3 classes, .*renamed has 3, and they .* same: only the classifier has run; only the dataset has fly\."
    )
    with pytest.raises(UserError, match=message):
        video_test("--checkpoint", trained / "run", "--data-dir", renamed)
    more = with_classes(trained, tmp_path / "more", (*CLASSES, "a", "b", "c", "d"), labels)
    with pytest.raises(
        UserError, match=r"has 3 classes, .*more has 7, .* same: only the dataset has a, b, c and 1 more\."
    ):
        video_test("--checkpoint", trained / "run", "--data-dir", more)
    nameless = changed_checkpoint(trained, tmp_path, classes=[])
    with pytest.raises(UserError, match=r"other.pt has 3 classes, .*more has 7, and they are not the same\. Choose"):
        video_test("--checkpoint", nameless, "--data-dir", more)


def test_checkpoints_without_classifier_are_refused(trained, vp9_store, tmp_path):
    (path,) = (trained / "run" / "checkpoints").glob("*.pt")
    model = {key: value for key, value in checkpoint.read(path)["model"].items() if key != "linear.weight"}
    with pytest.raises(UserError, match=r"classifier of .*other.pt does not fit .*: it has no linear.weight"):
        video_test("--checkpoint", changed_checkpoint(trained, tmp_path, model=model))
    pretrain.main(["--config", str(write_recipe(tmp_path, vp9_store.root)), "--device", "cpu", "--max-steps", "1"])
    with pytest.raises(UserError, match=r"is of the task ctp and has no classifier: finetune it"):
        video_test("--checkpoint", tmp_path / "run")
    with pytest.raises(UserError, match=r"is of the task ctp: say what to test it on with --config, a recipe"):
        testing.main(["--protocol", "retrieval", "--checkpoint", str(tmp_path / "run")])
    with pytest.raises(UserError, match=r"run.yaml is a recipe for clipfeed pretrain: say what"):
        video_test("--checkpoint", trained / "run", "--config", tmp_path / "run.yaml")


def test_invalid_lists_settings_and_outputs_are_named_before_the_test(trained, tmp_path):
    args = ["--checkpoint", trained / "run", "--out", tmp_path / "out"]
    (tmp_path / "list.txt").write_text("class1/video01\nclass0/gone\n")
    with pytest.raises(UserError, match=r"list.txt names 1 video that .* does not hold \(class0/gone\)"):
        video_test(*args, "--set", f"data.test_list={tmp_path / 'list.txt'}")
    with pytest.raises(UserError, match=r"data.test_list: missing; name the file"):
        video_test(*args, "--set", "data.test_list=null")
    with pytest.raises(UserError, match=r"--set plan.test.clips.*0"):
        video_test(*args, "--clips", 0)
    with pytest.raises(UserError, match=r"--set plan.test.crops.*nine"):
        video_test(*args, "--crops", "nine")
    with pytest.raises(UserError, match=r"cannot write to .*list.txt/out: Not a directory; choose another --out"):
        video_test(*args[:2], "--out", tmp_path / "list.txt" / "out")
    assert not (tmp_path / "out" / "result.json").exists()


@pytest.mark.parametrize("protocol", ["retrieval", "linear", "of_ones_own"])
def test_every_protocol_gets_the_checkpoints_backbone(trained, tmp_path, monkeypatch, capsys, protocol):
    calls: list[Any] = []

    def record_call(*given: object) -> str:
        calls.append(given)
        return "all found"

    monkeypatch.setitem(PROTOCOLS, protocol, record_call)
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(folder=trained).replace("r3d_tiny", "r3d18"))
    args = ["--checkpoint", trained / "run", "--config", tmp_path / "recipe.yaml", "--out", tmp_path / "out"]
    testing.main(["--protocol", protocol, "--device", "cpu", *map(str, args)])
    ((weights, config, ranks, out),) = calls
    assert (weights.backbone, config.backbone, ranks.world_size, out) == ("r3d_tiny", "r3d_tiny", 1, tmp_path / "out")
    assert capsys.readouterr().out.endswith("all found\n")
