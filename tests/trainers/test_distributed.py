"""How ranks meet, and the errors when they cannot."""

import re
import socket
from datetime import timedelta
from unittest.mock import patch

import pytest
import torch

from configs.errors import UserError
from tests.helpers import processes
from tests.helpers.ranks import on_ranks, start_ranks
from tests.helpers.runs import ROOT
from trainers.engine import distributed
from trainers.engine.distributed import start


def test_a_taken_port_is_a_one_line_error(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        env = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for name, value in env.items():
            monkeypatch.setenv(name, value)
        message = rf"^the 2 ranks cannot meet at 127.0.0.1:{port} \(.+\); on one machine .*`torchrun --standalone`"
        with pytest.raises(UserError, match=message) as caught, start("cpu"):
            pass
    assert "\n" not in str(caught.value)


def test_a_missing_rendezvous_address_is_a_one_line_error(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"^the 2 ranks cannot meet at \?:\? \(.*RANK"), start("cpu"):
        pass


@pytest.mark.parametrize("name", ["WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE"])
@pytest.mark.parametrize("text", ["", "x"])
def test_a_number_of_the_launcher_that_is_none_is_a_one_line_error(name, text, monkeypatch):
    monkeypatch.setenv(name, text)
    with pytest.raises(UserError, match=f"^environment variable {name}: '{text}' is no whole number"), start("cpu"):
        pass


def test_a_rank_that_the_world_has_not_is_refused(monkeypatch):
    """Left from another job, it ended in a traceback of the loader, or in a wait of minutes."""
    monkeypatch.setenv("RANK", "2")
    for size in (None, "2"):
        if size:
            monkeypatch.setenv("WORLD_SIZE", size)
        message = f"^environment variable RANK = 2 is not below WORLD_SIZE = {size or 1}: set both"
        with pytest.raises(UserError, match=message), start("cpu"):
            pass


@pytest.mark.parametrize(
    ("environment", "gpus", "local_rank"),
    [
        ({}, 4, 0),
        ({"LOCAL_RANK": "1"}, 4, 1),
        ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "SLURM_LOCALID": "2"}, 4, 1),
        ({"WORLD_SIZE": "4", "RANK": "3", "SLURM_LOCALID": "1"}, 4, 1),
        ({"WORLD_SIZE": "4", "RANK": "3", "SLURM_LOCALID": "1"}, 0, 1),
        ({"WORLD_SIZE": "4", "RANK": "3", "SLURM_LOCALID": "1"}, 1, None),  # --gpus-per-task=1
        ({"WORLD_SIZE": "4", "RANK": "3"}, 4, None),
        ({"SLURM_LOCALID": "1"}, 4, 0),  # one of several runs of an srun, each alone
    ],
)
def test_the_gpu_of_a_rank_is_its_number_on_its_machine(environment, gpus, local_rank, monkeypatch):
    """Without LOCAL_RANK, all ranks of a machine took its first GPU."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with (
        patch.object(distributed, "choose_device", side_effect=UserError("chosen")) as chosen,
        pytest.raises(UserError, match=r"^chosen$"),
        start("cuda"),
    ):
        pass
    chosen.assert_called_once_with("cuda", local_rank)


def device_error(rank: int) -> str:
    """Return a rank's error when rank 1 is on a node with an unusable GPU."""
    device = torch.device(("cuda", "cpu")[rank])
    with (
        patch.object(distributed, "choose_device", return_value=(device, "")),
        patch.object(torch.cuda, "set_device"),  # may run without a GPU
        pytest.raises(UserError) as caught,
        start("auto"),
    ):
        pass
    return str(caught.value)


def test_an_unusable_gpu_is_named_on_all_ranks():
    """Ranks once waited for each other until the timeout."""
    host = socket.gethostname()
    for error in on_ranks(device_error):
        assert f"rank 0 has cuda on {host}, rank 1 has cpu on {host}" in error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("pretrain --config ctp/demo", "--max-steps"),
        ("finetune --config recognition/demo --pretrained a", "--max-steps"),
        ("test --checkpoint a --protocol linear", "--clips"),
        ("features a --checkpoint a --out a.npz", "--stride"),
        ("probe --work-dir . --train a --test b", "--stride"),
    ],
)
def test_ranks_with_other_options_end_in_one_line(command, option, tmp_path):
    """They waited for each other for 15 minutes, or each made its half of the features with its own stride."""
    outputs = [tmp_path / f"rank{rank}.out" for rank in range(2)]
    name, *words = command.split()
    argv = [str(ROOT / "trainers" / f"{name}.py")] if name != "features" else [str(ROOT / "clipfeed.py"), name]
    each = [([*argv, *words, option, str(rank + 2)], output) for rank, output in enumerate(outputs)]
    statuses = processes.join(start_ranks(processes.run_command, each), grace=1)
    assert statuses[0] == 2
    (line,) = outputs[0].read_text().splitlines()
    assert line.startswith(f"error: the ranks differ in {option}: ")
    assert re.search(r": '?2'? on rank 0, '?3'? on rank 1 \(.*\). Give every rank the same options", line)


def test_a_rank_without_peers_says_that_it_waits(monkeypatch, capsys):
    """It was silent for the 15 minutes, as where WORLD_SIZE is left from another job."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setattr(distributed, "QUIET_S", 0.1)
    monkeypatch.setattr(distributed, "PEER_TIMEOUT", timedelta(seconds=2))
    with pytest.raises(UserError, match=f"the 2 ranks cannot meet at 127.0.0.1:{port}"), start("cpu"):
        pass
    assert f"note: rank 0 waits for the others, 2 in all, at 127.0.0.1:{port}\n" in capsys.readouterr().out
