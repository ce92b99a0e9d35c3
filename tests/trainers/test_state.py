"""State dicts must have keys without wrapper prefixes and finite values wherever weights are read."""

from pathlib import Path

import pytest
import torch

from configs.errors import UserError
from tests.helpers.checkpoints import write_checkpoint
from trainers.engine import checkpoint
from trainers.engine.checkpoint import plain, require_finite
from trainers.evaluation.video_features import extract_features
from trainers.weights import read
from trainers.weights.export import export

PREFIXES = ("module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.", "module.module.")


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "ours.pt"
    write_checkpoint(path)
    return path


def changed(path: Path, folder: Path, change) -> Path:
    """Write a copy of a checkpoint with a changed state dict; return its path."""
    content = checkpoint.read(path)
    content["model"] = change(content["model"])
    checkpoint.write(folder / "changed.pt", content)
    return folder / "changed.pt"


def with_nan(state):
    return state | {"backbone.stem.0.weight": torch.full_like(state["backbone.stem.0.weight"], torch.nan)}


@pytest.mark.parametrize("prefix", PREFIXES)
def test_wrapper_prefixes_are_removed(ours, tmp_path, prefix):
    model = read(ours).model
    wrapped = changed(ours, tmp_path, lambda state: {f"{prefix}{key}": value for key, value in state.items()})
    assert list(read(wrapped).model) == list(model)


def test_prefixes_of_compiled_parts_are_removed_but_not_module_names():
    """As left by `net.backbone = torch.compile(net.backbone)`."""
    keys = ("backbone._orig_mod.conv.weight", "module.a._orig_mod.b._orig_mod.c", "blocks.module.weight")
    assert list(plain(dict.fromkeys(keys, torch.ones(1)), "x.pt")) == [
        "backbone.conv.weight",
        "a.b.c",
        "blocks.module.weight",
    ]


def test_a_tensor_with_and_without_a_prefix_is_refused():
    with pytest.raises(UserError, match=r"x.pt has 1 tensor twice, with and without the prefix module. or _orig_mod."):
        plain({"module.a": torch.ones(1), "a": torch.ones(1), "b": torch.ones(1)}, "x.pt")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_nonfinite_tensors_are_named(value):
    state = {"a": torch.ones(3), "count": torch.tensor(3), "b": torch.tensor([1, value]), "half": torch.ones(2).half()}
    require_finite({key: state[key] for key in ("a", "count", "half")}, "x.pt")
    with pytest.raises(UserError, match=r"x.pt holds nan or infinity in 1 of 4 tensors \(b\): .* earlier checkpoint"):
        require_finite(state, "x.pt")


def test_weights_with_nan_are_refused(ours, tmp_path):
    """extract_features, finetune, test, probe, export and clipfeed.load_weights all call `read`."""
    broken = changed(ours, tmp_path, with_nan)
    with pytest.raises(
        UserError, match=rf"{broken} holds nan or infinity in 1 of \d+ tensors \(backbone.stem.0.weight\)"
    ):
        read(broken)
    out = tmp_path / "a.safetensors"
    weights = read(ours)
    weights.model["backbone.stem.0.weight"][0] = torch.inf  # after the check, as in a file that predates it
    export(weights, out)
    with pytest.raises(UserError, match=rf"{out} holds nan or infinity in 1 of"):
        read(out)


def test_weights_with_nan_are_refused_before_searching_videos(ours, tmp_path):
    """Once reported as "64 features of 48 videos, 0 unreadable", all of them nan."""
    with pytest.raises(UserError, match=r"holds nan or infinity in 1 of"):
        extract_features(changed(ours, tmp_path, with_nan), tmp_path / "gone")
