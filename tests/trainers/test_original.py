"""Read state dicts that other training code wrote, without running code from the file."""

import argparse
import os

import pytest
import torch
from safetensors.torch import save_file

from configs.errors import UserError
from trainers.weights import read
from trainers.weights.original import read_original

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"epoch": 3, "state_dict": s}, lambda s: {"model": s}])
def test_state_dicts_are_found_in_common_file_layouts(tmp_path, wrap, old):
    state = {"module.a.module.weight": torch.rand(3), "module.b": torch.tensor(2)}
    torch.save(wrap(state), tmp_path / "x.pth", _use_new_zipfile_serialization=not old)
    found = read_original(tmp_path / "x.pth")
    assert found.keys() == {"a.module.weight", "b"}
    assert found["a.module.weight"].equal(state["module.a.module.weight"])


@pytest.mark.parametrize("before", ["", "module.", "_orig_mod.", "module._orig_mod.", "model.", "net._orig_mod."])
def test_common_key_prefixes_are_removed(tmp_path, before):
    """`model.` and `net.` are common attributes of Lightning modules."""
    state = {f"{before}layer.weight": torch.rand(3), f"{before}model.bias": torch.rand(2)}
    for wrapped in (state, {"pytorch-lightning_version": "2.5", "state_dict": state}, {"model_state_dict": state}):
        torch.save(wrapped, tmp_path / "x.ckpt")
        assert read_original(tmp_path / "x.ckpt").keys() == {"layer.weight", "model.bias"}
    save_file(state, tmp_path / "x.safetensors")
    assert read_original(tmp_path / "x.safetensors").keys() == {"layer.weight", "model.bias"}


def test_safetensors_are_read_and_damaged_ones_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"module.a": torch.rand(1000)}, path)
    (found,) = read_original(path).items()
    assert (found[0], found[1].shape) == ("a", (1000,))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"x.safetensors is damaged, or no file of safetensors \(.+\)$"):
        read_original(path)


@pytest.mark.parametrize("old", [False, True])
def test_a_file_that_needs_to_run_code_is_refused(tmp_path, old):
    content = {"args": argparse.Namespace(lr=1), "state_dict": {"a": torch.rand(3)}}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=not old)
    with pytest.raises(
        UserError, match=r"x.pth holds an object of argparse.Namespace .* torch.save its state dict alone"
    ):
        read_original(tmp_path / "x.pth")


@pytest.mark.parametrize("old", [False, True])
def test_damaged_files_are_refused(tmp_path, old):
    path = tmp_path / "x.pth"
    torch.save({"a": torch.rand(1000)}, path, _use_new_zipfile_serialization=not old)
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = [whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]] * (not old)  # old ones lack checksums
    for content in (whole[:middle], whole[:40], b"", b"hello world\n" * 20, *flipped):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"x.pth is damaged, or no checkpoint of torch \(.+\)$"):
            read_original(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds no state dict, neither by itself nor as state_dict or model"),
        ({}, "holds no state dict"),
        ({"state_dict": {"a": 3}}, "'a' is of type int and no tensor"),
        ({"epoch": 3, "weights": {}}, "'epoch' is of type int and no tensor"),
    ],
)
def test_a_file_without_a_state_dict_is_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(UserError, match=message):
        read_original(tmp_path / "x.pth")


class Runs:
    """What a pickle holds that runs a command when it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("old", [False, True])
def test_no_error_advises_to_run_the_code_of_a_file(tmp_path, old):
    evil, other = tmp_path / "evil.pth", tmp_path / "other.pth"
    torch.save({"state_dict": {}, "x": Runs(f"touch {tmp_path}/ran")}, evil, _use_new_zipfile_serialization=not old)
    with pytest.raises(UserError, match=r"evil.pth would run posix.system when it is read, .*: do not trust it$"):
        read_original(evil)
    other.write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"no checkpoint of torch \(Unsupported operand 118\)$"):
        read_original(other)
    torch.save({"args": argparse.Namespace(lr=1), "state_dict": {}}, other)
    with pytest.raises(UserError, match=r"not a checkpoint of clipfeed: it holds an object of argparse.Namespace; `"):
        read(other)
    with pytest.raises(UserError) as raised:
        read(evil)
    assert "weights_only" not in str(raised.value)
    assert not (tmp_path / "ran").exists()
