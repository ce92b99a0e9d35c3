"""How ranks meet, and what is said when they cannot."""

import socket

import pytest

from configs.errors import UserError
from trainers.engine.distributed import start


def test_a_port_that_is_taken_is_one_line_with_the_way_out(monkeypatch):
    """H09."""
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        meeting = {"WORLD_SIZE": "2", "RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for name, value in meeting.items():
            monkeypatch.setenv(name, value)
        message = rf"^the 2 ranks cannot meet at 127.0.0.1:{port} \(.+\); on one machine .*`torchrun --standalone`"
        with pytest.raises(UserError, match=message) as caught, start("cpu"):
            pass
    assert "\n" not in str(caught.value)


def test_an_environment_without_a_meeting_place_is_one_line_too(monkeypatch):
    """H09."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match=r"^the 2 ranks cannot meet at \?:\? \(.*RANK"), start("cpu"):
        pass
