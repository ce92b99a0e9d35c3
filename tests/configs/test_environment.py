"""Numbers in environment variables."""

import pytest

from configs.environment import from_environment
from configs.errors import UserError, run_cli


@pytest.mark.parametrize(("environment", "number"), [({}, 1), ({"WORLD_SIZE": "8"}, 8)])
def test_a_number_is_read_and_a_missing_one_has_its_default(environment, number):
    assert from_environment("WORLD_SIZE", 1, least=1, environment=environment) == number


@pytest.mark.parametrize("text", ["", "two", "-1", "0", "1.5", "2147483648", "1" * 5000])
def test_anything_else_is_refused_with_its_name(text):
    message = rf"^environment variable WORLD_SIZE: '{text}' is no whole number from 1 to 2147483647, as"
    with pytest.raises(UserError, match=message):
        from_environment("WORLD_SIZE", 1, least=1, environment={"WORLD_SIZE": text})


@pytest.mark.parametrize("text", ["", "abc"])
def test_a_rank_that_is_no_number_does_not_hide_the_error(text, monkeypatch, capsys):
    """It was read again to report the error that it caused."""
    monkeypatch.setenv("RANK", text)
    monkeypatch.setattr("sys.argv", ["clipfeed"])
    with pytest.raises(SystemExit, match=r"^2$"):
        run_cli(lambda argv: from_environment("RANK", 0))
    assert capsys.readouterr().err.startswith(f"error: environment variable RANK: '{text}' is no whole number from 0")
