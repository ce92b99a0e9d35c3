"""trainers.engine.distributed on two gloo processes."""

import os
import socket
from collections.abc import Callable
from unittest import mock

import pytest
import torch

from configs.errors import UserError
from configs.schema import Train
from tests.helpers.ranks import on_ranks
from trainers.engine import build, distributed
from trainers.engine.distributed import Ranks


def refuse() -> None:
    raise UserError("no such thing")


def fill_up() -> None:
    raise OSError(28, "No space left on device")


def caught(call: Callable[[], object]) -> str:
    try:
        call()
    except (UserError, OSError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing was raised"


def visit(rank: int) -> dict[str, object]:
    """Return one rank's results."""
    with mock.patch.object(os, "sched_getaffinity", return_value=range(7)), distributed.start("cpu") as ranks:
        seen = {
            "gathered": ranks.gather(torch.tensor([rank + 1 / 3, -rank], dtype=torch.float64)).tolist(),
            "objects": ranks.gather_objects({"rank": rank}),
            "made": ranks.on_rank0(lambda: f"by {rank}"),
            "refused": caught(lambda: ranks.on_rank0(refuse)),
            "full": caught(lambda: ranks.on_rank0(fill_up)),
            "same": caught(lambda: ranks.require_same(lambda: {"videos": 7, "config": "a"})),
            "other": caught(lambda: ranks.require_same(lambda: {"lr": 0.1 * rank, "config": "a", "videos": 7 + rank})),
            "threads": torch.get_num_threads(),
        }
        ranks.end_group()
        return seen | {"parted": not torch.distributed.is_initialized()}


@pytest.fixture(scope="module")
def seen():
    return on_ranks(visit)


@pytest.mark.parametrize("rank", [0, 1])
def test_gather_and_broadcast_agree_on_every_rank(seen, rank):
    assert seen[rank]["gathered"] == [[1 / 3, 0.0], [1 + 1 / 3, -1.0]]
    assert seen[rank]["objects"] == [{"rank": 0}, {"rank": 1}]
    assert seen[rank]["made"] == "by 0"


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_on_rank_0_is_raised_on_every_rank(seen, rank):
    assert seen[rank]["refused"] == "UserError: no such thing"
    assert seen[rank]["full"] == "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize("rank", [0, 1])
def test_differing_ranks_name_the_difference(seen, rank):
    assert seen[rank]["same"] == "nothing was raised"
    host = socket.gethostname()
    assert f"differ in lr: 0.0 on rank 0, 0.1 on rank 1 ({host}); videos: 7 on rank 0, 8 on" in seen[rank]["other"]


def test_ranks_exit_cleanly_after_leaving_the_group(seen):
    assert [each["parted"] for each in seen] == [True, True]


def test_two_ranks_on_seven_cores_have_three_threads_each(seen):
    assert [each["threads"] for each in seen] == [3, 3]


def test_options_ignored_on_a_cpu_are_noted():
    train = Train(epochs=1, sync_bn=True, amp="bf16")
    one, two = (Ranks(torch.device("cpu"), world_size=size) for size in (1, 2))
    assert [note.split()[0] for note in build.ignored_options(train, one)] == ["train.amp"]
    assert [note.split()[0] for note in build.ignored_options(train, two)] == ["train.sync_bn", "train.amp"]
    gpu = Ranks(torch.device("cuda"), world_size=2)
    assert build.ignored_options(train, gpu) == []
