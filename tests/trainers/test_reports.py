"""Reports of a run: complete after any kill, correct in pictures, and with every figure documented."""

import os
import pkgutil
import re
import signal
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dali_pipelines.loader import ClipLoader
from dali_pipelines.preview import sheet
from dali_pipelines.tasks import Task, ctp
from tests.helpers import loop_worker
from tests.helpers.loop import STEPS, history, lines, run, write_recipe
from tests.helpers.processes import join, start
from tests.helpers.results import rows
from tests.helpers.runs import ROOT
from trainers.engine import pictures

pytestmark = pytest.mark.slow

LOGGERS = ("--set", "train.loggers=[tensorboard, csv]")


def kill_training(tmp_path: Path, where: str, call: int, done: bool) -> None:
    """Train, and kill this process at the given call of a function, before or after it has run."""
    module, _, name = where.rpartition(".")
    owner = pkgutil.resolve_name(module)
    real, calls = getattr(owner, name), []

    def wrapped(*args, **options):
        calls.append(1)
        result = real(*args, **options) if done or len(calls) < call else None
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    with mock.patch.object(owner, name, wrapped):
        loop_worker.main(["--config", str(write_recipe(tmp_path, "run")), "--device", "cpu", *LOGGERS])


def test_no_report_repeats_or_misses_a_step_after_a_kill(tmp_path):
    moments = [
        ("trainers.engine.fit.open_loggers", 1, True),
        ("trainers.engine.loggers.TensorBoard.add_scalars", 3, True),
        ("trainers.engine.checkpoint.save", 1, False),
        ("trainers.engine.checkpoint.save", 1, True),  # now there is a checkpoint of step 4
        ("trainers.engine.metrics.Metrics.add", 3, False),
        ("trainers.engine.checkpoint.save", 1, True),
        ("trainers.engine.loggers.Csv.add_scalars", 2, False),
        ("trainers.engine.metrics.Metrics.__exit__", 1, False),
    ]
    assert [join([start(kill_training, tmp_path, *moment)]) for moment in moments] == [[-signal.SIGKILL]] * len(moments)
    (tmp_path / "run" / "checkpoints" / f"step_{STEPS:08d}.pt").unlink()  # the last, written before the last kill
    run(tmp_path, *LOGGERS)
    run(tmp_path, *LOGGERS, name="whole")
    assert history(tmp_path) == history(tmp_path, "whole")
    losses = [line["loss"] for line in lines(tmp_path)]
    table = rows(tmp_path / "run" / "train.csv")
    assert [(int(row["step"]), float(row["loss"])) for row in table] == list(enumerate(losses, start=1))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload().Scalars("train/loss")
    assert [(event.step, event.value) for event in events] == [
        (step, pytest.approx(loss)) for step, loss in enumerate(losses, start=1)
    ]


def test_the_input_picture_shows_the_networks_boxes(vp9_store, monkeypatch):
    drawn = []

    def record(samples, frames):
        drawn.extend(samples)
        return sheet(samples, frames)

    monkeypatch.setattr(pictures, "sheet", record)
    loader = ClipLoader(vp9_store, Task("ctp", ctp.Config(strides=(1,))), batch_size=5, seed=3)
    batches = [*loader, *loader]  # two epochs
    picture = pictures.draw(loader, batches[-1])
    assert len(drawn) == pictures.PICTURED == 4
    for place, sample in enumerate(drawn):
        assert sample.name == vp9_store.info(int(batches[-1]["index"][place])).name
        (view,) = sample.views
        assert np.array_equal(view.boxes_RT4, batches[-1]["boxes"][place])
        assert len(view.numbers_T) == 16
    assert picture.width > 8 * 112


def documented(title: str) -> set[str]:
    """Return the names in the first column of the table under a heading of docs/training.md."""
    section = (ROOT / "docs" / "training.md").read_text().split(f"## {title}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))


def test_the_docs_explain_exactly_the_figures_of_a_line(tmp_path):
    run(tmp_path, "--max-steps", "1")
    (line,) = lines(tmp_path)
    of_task, optional = {"target"}, {"cuda_peak_mib", "online_top1"}  # need a GPU and an online probe
    assert documented("metrics.jsonl") == line.keys() - of_task | optional
