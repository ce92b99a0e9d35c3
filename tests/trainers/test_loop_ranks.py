"""trainers.distributed on two gloo processes."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import multiprocessing

from configs.errors import UserError
from configs.schema import Train
from trainers.engine import distributed
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


def visit(rank: int, port: int, folder: str) -> None:
    """What one rank saw, as JSON in folder/<rank>."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    with distributed.start("cpu") as ranks:
        seen = {
            "gathered": ranks.gather(torch.tensor([rank + 1 / 3, -rank], dtype=torch.float64)).tolist(),
            "objects": ranks.gather_objects({"rank": rank}),
            "made": ranks.on_rank0(lambda: f"by {rank}"),
            "refused": caught(lambda: ranks.on_rank0(refuse)),
            "full": caught(lambda: ranks.on_rank0(fill_up)),
            "same": caught(lambda: ranks.require_same(videos=7, config="a")),
            "other": caught(lambda: ranks.require_same(config="a", videos=7 + rank)),
            "threads": torch.get_num_threads(),
        }
        ranks.end_group()
        seen["parted"] = not torch.distributed.is_initialized()
    Path(folder, str(rank)).write_text(json.dumps(seen))


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(visit, (port, str(folder)), nprocs=2)
    return [json.loads((folder / str(rank)).read_text()) for rank in range(2)]


@pytest.mark.parametrize("rank", [0, 1])
def test_every_rank_sees_the_same(seen, rank):
    assert seen[rank]["gathered"] == [[1 / 3, 0.0], [1 + 1 / 3, -1.0]]
    assert seen[rank]["objects"] == [{"rank": 0}, {"rank": 1}]
    assert seen[rank]["made"] == "by 0"


@pytest.mark.parametrize("rank", [0, 1])
def test_an_error_on_rank_0_is_everyones(seen, rank):
    assert seen[rank]["refused"] == "UserError: no such thing"
    assert seen[rank]["full"] == "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize("rank", [0, 1])
def test_ranks_that_differ_say_in_what(seen, rank):
    assert seen[rank]["same"] == "nothing was raised"
    assert "differ in videos: 7 on rank 0, 8 on rank 1" in seen[rank]["other"]


def test_ranks_that_parted_have_no_group_and_end_without_one(seen):
    assert [each["parted"] for each in seen] == [True, True]


def test_cores_are_shared_out(seen):
    assert [each["threads"] for each in seen] == [max(1, len(os.sched_getaffinity(0)) // 2)] * 2


def test_what_a_cpu_cannot_do_is_said():
    train = Train(epochs=1, sync_bn=True, amp="bf16")
    one, two = (Ranks(torch.device("cpu"), world_size=size) for size in (1, 2))
    assert [note.split()[0] for note in distributed.ignored_options(train, one)] == ["train.amp"]
    assert [note.split()[0] for note in distributed.ignored_options(train, two)] == ["train.sync_bn", "train.amp"]
    gpu = Ranks(torch.device("cuda"), world_size=2)
    assert distributed.ignored_options(train, gpu) == []
