"""Loggers of a run: the files they write, which must agree with metrics.jsonl."""

import sys
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from configs.errors import UserError
from configs.load import load
from tests.helpers.loop import STEPS, lines, run
from tests.helpers.results import rows
from trainers.engine import loggers


def test_csv_of_a_resumed_run_has_each_step_once(tmp_path):
    args = ("--set", "train.loggers=[csv]")
    run(tmp_path, *args, "--max-steps", "7")
    path = tmp_path / "run" / "train.csv"
    with path.open("a") as file:
        file.write(path.read_text().splitlines()[-1].replace("7,", "8,", 1) + "\n9,0")  # as a killed run leaves it
    run(tmp_path, *args)
    assert [int(row["step"]) for row in rows(path)] == list(range(1, STEPS + 1))
    assert [{name: float(value) for name, value in row.items()} for row in rows(path)] == lines(tmp_path)
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_a_term_that_begins_later_gets_a_column(tmp_path):
    """It ended the run in a traceback of the csv module."""
    table = loggers.Csv(load("ctp/demo", [f"work_dir={tmp_path}"]), 0)
    for step, values in enumerate([{"loss": 3.0}, {"loss": 2.0, "late": 0.5}, {"loss": 1.0}], start=1):
        table.add_scalars("train", values, step)
    table.close()
    assert rows(tmp_path / "train.csv") == [
        {"step": "1", "loss": "3.0", "late": ""},
        {"step": "2", "loss": "2.0", "late": "0.5"},
        {"step": "3", "loss": "1.0", "late": ""},
    ]


def test_setting_the_clock_back_hides_no_step_from_tensorboard(tmp_path, monkeypatch):
    run(tmp_path, "--max-steps", "7")
    monkeypatch.setattr(loggers, "time", SimpleNamespace(time=lambda: time.time() - 86400))
    run(tmp_path, "--max-steps", "9")
    run(tmp_path)
    board = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    assert [event.step for event in board.Scalars("train/loss")] == list(range(1, STEPS + 1))


def test_without_loggers_only_metrics_jsonl_is_written(tmp_path):
    run(tmp_path, "--set", "train.loggers=[]", "--max-steps", "1")
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert names == [".lock", "checkpoints", "config.yaml", "metrics.jsonl"]


def test_unknown_logger_lists_the_known_ones(tmp_path):
    with pytest.raises(
        UserError, match=r"train.loggers: no 'cvs'; did you mean csv\?; there are: tensorboard, csv, wandb"
    ):
        run(tmp_path, "--set", "train.loggers=[cvs]")


def test_missing_wandb_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match=r"train.loggers: wandb is not installed: pip install wandb, or leave it out"):
        run(tmp_path, "--set", "train.loggers=[wandb]")


def test_wandb_without_a_key_says_how_to_log_in(tmp_path, monkeypatch):
    """A job without a terminal ended in a traceback of wandb."""
    init = Mock(side_effect=ValueError("api_key not configured (no-tty)"))
    wandb = SimpleNamespace(init=init, Image=None, errors=SimpleNamespace(Error=ValueError))
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(UserError, match=r"wandb does not start: api_key not .*\); run `wandb login`, set WANDB_MODE"):
        loggers.WeightsAndBiases(load("ctp/demo", [f"work_dir={tmp_path}"]), 0)


def test_wandb_gets_all_figures_in_one_run_across_a_resume(tmp_path, monkeypatch):
    """With a fake package that accepts the documented arguments of the real one."""
    started: list[dict[str, Any]] = []
    logged: list[Any] = []
    service = SimpleNamespace(
        log=logged.append, define_metric=lambda *_, **__: None, finish=lambda: logged.append("finished")
    )

    def init(**options):
        started.append(options)
        return service

    wandb = SimpleNamespace(init=init, Image=lambda image: image.mode)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for steps in ("2", "3"):
        run(tmp_path, "--set", "train.loggers=[wandb]", "--max-steps", steps)
    assert started[0]["id"] == started[1]["id"]
    assert (started[0]["name"], started[0]["resume"]) == ("run", "allow")
    assert started[0]["config"]["optim"]["lr"] == 0.05
    figures = [entry for entry in logged if "train/loss" in entry]
    assert [(entry["step"], entry["train/loss"]) for entry in figures] == [
        (line["step"], line["loss"]) for line in lines(tmp_path)
    ]
    assert [entry["input"] for entry in logged if "input" in entry] == ["RGB", "RGB"]
    assert logged.count("finished") == 2


def test_a_work_dir_with_a_non_utf8_name_works(tmp_path):
    """TensorBoard's table of options could not store it."""
    folder = tmp_path / b"\xfc".decode(errors="surrogateescape")
    for steps in ("1", "2"):
        run(tmp_path, "--work-dir", str(folder), "--max-steps", steps)
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 2


BROKEN = """
class Logger:
    def __init__(self, config, first_step):
        pass

    def add_scalars(self, group, values, step):
        self.fail("add_scalars", step)

    def add_image(self, name, image, step):
        self.fail("add_image", step)

    def close(self):
        self.fail("close", 0)

    def fail(self, method, step):
        print("called:", method, step)
        if (method, step) == FAILS:
            raise ERROR


class Other(Logger):
    pass
"""


def write_broken(package, *fails, error) -> None:
    """Write a `Logger` that prints its calls and raises an error in one method at one step; close is step 0."""
    (package / "__init__.py").write_text(BROKEN.replace("FAILS", repr(fails)).replace("ERROR", error))


@pytest.mark.parametrize(("method", "last"), [("add_scalars", 3), ("add_image", 1), ("close", 0)])
def test_a_run_goes_on_without_a_logger_that_raises(method, last, tmp_path, own_pkg, capsys):
    """It ended in a traceback, and the steps since the last checkpoint were lost."""
    write_broken(own_pkg, method, last, error='LookupError("no such board:\\n\\x1b[31mtry later")')
    run(tmp_path, "--set", "train.loggers=[own_pkg.Logger,csv]")
    steps = list(range(1, STEPS + 1))
    assert [line["step"] for line in lines(tmp_path)] == steps
    assert [int(row["step"]) for row in rows(tmp_path / "run" / "train.csv")] == steps
    output = capsys.readouterr().out.splitlines()
    assert [line for line in output if line.startswith("called: ")][-1] == f"called: {method} {last}"
    (warning,) = [line for line in output if line.startswith("warning: ")]
    assert warning == (
        r"warning: train.loggers: Logger failed (LookupError: no such board: \x1b[31mtry later, "
        f"at {own_pkg / '__init__.py'}:18); training goes on without it"
    )


@pytest.mark.parametrize("error", ["ConnectionRefusedError(111, 'refused')", "TimeoutError()", "OSError('502')"])
def test_a_run_goes_on_without_a_logger_whose_network_fails(error, tmp_path, own_pkg, capsys):
    """Those are OSErrors; the run ended and said to make room."""
    write_broken(own_pkg, "add_scalars", 1, error=error)
    run(tmp_path, "--set", "train.loggers=[own_pkg.Logger]")
    assert [line["step"] for line in lines(tmp_path)] == list(range(1, STEPS + 1))
    assert capsys.readouterr().out.count("training goes on without it") == 1


@pytest.mark.parametrize("error", ["OSError(28, 'no room')", "LookupError('closed')"])
def test_a_logger_that_does_not_close_hides_no_other_error(error, tmp_path, own_pkg, capsys):
    """Its error took the place of the run's, or made a finished run fail, and the loggers after it stayed open."""
    write_broken(own_pkg, "close", 0, error=error)
    options = ("--set", "train.loggers=[own_pkg.Logger,own_pkg.Other]")
    with pytest.raises(UserError, match="nan or infinity"):
        run(tmp_path, *options, "--set", "plan.nan_row=26")
    run(tmp_path, *options, name="whole")
    output = capsys.readouterr().out
    assert output.count("called: close 0") == output.count("warning: train.loggers: ") == 4
