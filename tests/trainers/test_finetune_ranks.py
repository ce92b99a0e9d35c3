"""`trainers/finetune.py` on two processes against one: step losses and validation results."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import torch

from configs.load import load
from configs.schema import Recognition
from dali_pipelines.datasets.open import open_dataset
from tests.helpers.finetuning import read, run_recipe, validations, write_recipe
from tests.helpers.loop import history, lines
from tests.helpers.ranks import on_ranks, two_ranks
from tests.helpers.runs import ROOT
from trainers.commands import finetune
from trainers.engine.distributed import Ranks
from trainers.evaluation import validation
from trainers.evaluation.validation import Validator

pytestmark = pytest.mark.slow

COMMON = (
    *("--set", "train.global_batch=6", "--set", "net.dropout=0", "--set", "validation.every=2"),
    *("--set", "net.init_std=0.1", "--set", "train.checkpoint_every=4"),
)
MODES = ("linear", "scratch")


def finetune_and_record(recipe: Path, mode: str) -> None:
    """Run the command and write this rank's validation results as JSON to rank<N> in the work dir."""
    measured, validate = [], Validator.__call__

    def recorded(validator: Validator, *args):
        measured.append(validate(validator, *args))
        measured[-1]["buffers"] = sum(buffer.double().sum().item() for buffer in args[0].net.buffers())
        return {name: value for name, value in measured[-1].items() if name != "buffers"}

    with mock.patch.object(Validator, "__call__", recorded):
        run_recipe(recipe, "--mode", mode, "--pretrained", "none", *COMMON)
    Path(recipe.with_suffix(""), f"rank{os.environ.get('RANK', '0')}").write_text(json.dumps(measured))


def visit(rank: int, recipe: Path, mode: str) -> None:
    """Run one of two ranks."""
    finetune_and_record(recipe, mode)


@pytest.fixture(scope="module")
def one(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    for mode in MODES:
        finetune_and_record(write_recipe(folder, root, mode), mode)
    return folder


@pytest.fixture(scope="module")
def two(root, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    for mode in MODES:
        on_ranks(visit, write_recipe(folder, root, mode), mode)
    return folder


def recorded(folder: Path, mode: str, number: int = 0) -> list[dict]:
    return json.loads((folder / mode / f"rank{number}").read_text())


def test_linear_probe_on_two_ranks_makes_the_steps_of_one(one, two):
    """The backbone is in eval mode, so no statistics depend on how the batch is split."""
    ours, theirs = lines(two, "linear"), lines(one, "linear")
    assert [line["step"] for line in ours] == [1, 2, 3, 4]
    for key in ("loss", "grad_norm", "accuracy"):
        assert [line[key] for line in ours] == pytest.approx([line[key] for line in theirs], rel=1e-4)
    assert recorded(two, "linear")[-1]["loss"] == pytest.approx(recorded(one, "linear")[-1]["loss"], rel=1e-4)
    assert recorded(two, "linear")[-1]["top1"] == recorded(one, "linear")[-1]["top1"]


@pytest.mark.parametrize("mode", MODES)
def test_both_ranks_validate_with_the_same_statistics(two, mode):
    """Without CUDA, each rank has batch statistics of its own half until all take rank 0's."""
    assert recorded(two, mode, 0) == recorded(two, mode, 1)
    assert [line["step"] for line in validations(two / mode)] == [2, 4]
    reported = [{k: v for k, v in line.items() if k != "step"} for line in validations(two / mode)]
    assert reported == [{k: v for k, v in line.items() if k != "buffers"} for line in recorded(two, mode)]


@pytest.mark.parametrize("mode", MODES)
def test_best_of_two_ranks_is_written_once_and_reproducible(two, mode, tmp_path):
    folder = two / mode
    best = read(folder / "checkpoints" / "best.pt")
    config = load(folder / "config.yaml")
    assert isinstance(config, Recognition)
    listed = open_dataset(config.data.root, config.data.list_of("train"), labeled=True)
    _, held = finetune.split(config, listed.index)
    assert held is not None
    net = finetune_net(config, best["model"])
    with mock.patch.object(validation, "content", return_value={}):
        run: Any = SimpleNamespace(net=net, unreadable={})
        measured = Validator(held, config, Ranks(torch.device("cpu")), tmp_path)(run, 1)
    assert measured["top1"] == best["validation"]["top1"]
    assert measured["loss"] == pytest.approx(best["validation"]["loss"], rel=1e-4)
    assert sorted(path.name for path in (folder / "checkpoints").glob("best*")) == ["best.pt"]


def finetune_net(config, state: dict[str, torch.Tensor]) -> torch.nn.Module:
    from nets import backbones
    from nets.classifier import Classifier

    net = Classifier(backbones.create(config.backbone), 2, config.net)
    net.load_state_dict(state)
    return net


def test_two_ranks_with_workers_are_bit_identical(two, root, tmp_path):
    arguments = (
        "--config",
        two / "linear.yaml",
        "--device",
        "cpu",
        "--mode",
        "linear",
        "--pretrained",
        "none",
        *COMMON,
    )
    more = ("--set", "data.workers=1", "--work-dir", tmp_path / "linear")
    statuses, output = two_ranks(ROOT / "trainers" / "finetune.py", tmp_path, *arguments, *more)
    assert statuses == [0, 0]
    assert output.count("done: 4 of 4 steps") == 1
    assert "done: " not in (tmp_path / "rank1.out").read_text()
    assert history(tmp_path, "linear") == history(two, "linear")
    assert validations(tmp_path / "linear") == validations(two / "linear")
