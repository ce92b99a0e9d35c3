"""Numbers in environment variables."""

import pytest

from configs.environment import whole_number
from configs.errors import UserError, run_cli


@pytest.mark.parametrize(("environment", "number"), [({}, 1), ({"WORLD_SIZE": "8"}, 8)])
def test_a_number_is_read_and_a_missing_one_has_its_default(environment, number):
    assert whole_number("WORLD_SIZE", 1, minimum=1, environment=environment) == number


@pytest.mark.parametrize("text", ["", "two", "-1", "0", "1.5", "2147483648"])
def test_anything_else_is_refused_with_its_name(text):
    message = rf"^environment variable WORLD_SIZE = '{text}': expected a whole number from 1 to 2147483647, as"
    with pytest.raises(UserError, match=message):
        whole_number("WORLD_SIZE", 1, minimum=1, environment={"WORLD_SIZE": text})


@pytest.mark.parametrize("text", ["", "abc"])
def test_a_rank_that_is_no_number_does_not_hide_the_error(text, monkeypatch, capsys):
    """It was read again to report the error that it caused."""
    monkeypatch.setenv("RANK", text)
    monkeypatch.setattr("sys.argv", ["clipfeed"])
    with pytest.raises(SystemExit, match=r"^2$"):
        run_cli(lambda argv: whole_number("RANK", 0))
    assert capsys.readouterr().err.startswith(f"error: environment variable RANK = '{text}': expected")
