"""Each command that trains or evaluates says what to set if the GPU's memory is full."""

import pytest
import torch
from torch import nn

from configs.errors import UserError
from configs.schema import Train
from tests.helpers.finetuning import write_recipe as write_finetuning
from tests.helpers.runs import write_recipe as write_pretraining
from trainers.commands import extract_features, finetune, pretrain, probe
from trainers.commands import test as test_command
from trainers.commands.training import batch_and_way_out

TORCHS = (
    "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB of which 1.51 GiB is "
    "free. Process 1 has 77.58 GiB memory in use."
)
"""Its message, from a GPU."""


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every convolution find the memory full."""

    def fail(*args: object) -> None:
        raise torch.cuda.OutOfMemoryError(TORCHS)

    monkeypatch.setattr(nn.Conv3d, "forward", fail)


def refusal(command, *args: object) -> str:
    with pytest.raises(UserError) as caught:
        command.main([*map(str, args), "--device", "cpu"])
    text = str(caught.value)
    assert "(CUDA out of memory. Tried to allocate 2.00 GiB)" in text
    assert "GPU 0" not in text
    return text


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--set", "train.accumulate=2")])
def test_pretraining_names_the_batch_and_the_keys(root, tmp_path, full, more):
    text = refusal(pretrain, "--config", write_pretraining(tmp_path, root), *more)
    halved = "train.accumulate=2" in more
    videos = "2 videos at once (train.global_batch = 4 on 1 rank, train.accumulate = 2)"
    assert (videos if halved else "4 videos at once (train.global_batch = 4 on 1 rank, train.accumulate = 1)") in text
    assert f"train.accumulate={4 if halved else 2}, set train.amp=bf16, or lower train.global_batch" in text


def test_finetuning_names_the_batch(root, tmp_path, full):
    assert "3 videos at once" in refusal(
        finetune, "--config", write_finetuning(tmp_path, root, "run"), "--mode", "scratch"
    )


@pytest.mark.parametrize("command", ["test", "features", "probe"])
def test_evaluation_names_its_clips(root, pretrained, tmp_path, full, command):
    lists = ("--train", "train.txt", "--test", "test.txt")
    text = {
        "test": lambda: refusal(
            test_command,
            "--checkpoint",
            pretrained,
            "--protocol",
            "linear",
            "--out",
            tmp_path / "out",
            "--config",
            write_finetuning(tmp_path, root, "run"),
        ),
        "features": lambda: refusal(
            extract_features, root, "--checkpoint", pretrained, "--out", tmp_path / "x.npz", "--workers", 0
        ),
        "probe": lambda: refusal(probe, "--work-dir", pretrained, *lists),
    }[command]()
    assert "up to 16 clips at once: take fewer --clips, or --device cpu" in text


def test_bf16_is_no_way_out_twice():
    train = Train(epochs=1, global_batch=64, accumulate=2, amp="bf16")
    batch, way_out = batch_and_way_out(train, 8)
    assert batch == "4 videos at once (train.global_batch = 64 on 8 ranks, train.accumulate = 2)"
    assert way_out == "start a new run with train.accumulate=4, or lower train.global_batch"


def test_a_size_that_no_memory_holds_names_its_bytes(root, tmp_path, monkeypatch):
    """It ended in a traceback of torch, whose CPU allocator has no exception of its own."""
    monkeypatch.setattr(nn.Conv3d, "forward", lambda *_: torch.empty(2**44))
    with pytest.raises(
        UserError, match=r"memory does not hold the network and 4 videos at once .* has 70,368,744,177,664 b"
    ):
        pretrain.main(["--config", str(write_pretraining(tmp_path, root)), "--device", "cpu"])
