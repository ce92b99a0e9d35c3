"""Loggers by name, in addition to metrics.jsonl. To add one, write a class and enter it in `LOGGERS`."""

import csv
import hashlib
import io
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL.Image import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.summary.writer.record_writer import RecordWriter
from torch.utils.tensorboard.summary import hparams, scalar
from torch.utils.tensorboard.summary import image as picture

from configs.errors import UserError, shown
from configs.plugins import look_up, require_takes
from configs.schema import Config
from dali_pipelines.store.files import Appended, write_file
from trainers.engine.identity import options


class Logger(Protocol):
    """Where rank 0 logs metrics and images. `step` counts the optimizer steps done.

    A call that raises OSError for the disk must have written nothing: with `train.full_disk: go_on` it is retried
    later. After any other exception, as of a network, the run goes on without the logger.
    """

    def add_scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Log the metrics of one step. `group` is "train" or "validation"."""

    def add_image(self, name: str, image: Image, step: int) -> None:
        """Log an RGB picture."""

    def close(self) -> None:
        """Write what is pending, and close."""


METHODS = {"add_scalars": ("group", "values", "step"), "add_image": ("name", "image", "step"), "close": ()}
"""The methods of `Logger`, with what they are called with."""


class TensorBoard:
    """Event files in `work_dir`/tensorboard. After a resume, TensorBoard hides the steps that were lost.

    Not torch's SummaryWriter, which writes in a thread: a full disk leaves half a record, and raises late.
    """

    def __init__(self, config: Config, first_step: int) -> None:
        folder = Path(config.work_dir, "tensorboard")
        folder.mkdir(parents=True, exist_ok=True)
        self._file = Appended(folder / _name_after(path.name for path in folder.iterdir()))
        recipe = options(config).items()
        values = {key: value if isinstance(value, bool | int | float) else shown(str(value)) for key, value in recipe}
        _, session, _ = hparams(values, {})  # without a list of metrics, HPARAMS shows each scalar's last value
        start = Event(step=first_step + 1, session_log=SessionLog(status=SessionLog.START))
        self._add(Event(file_version="brain.Event:2"), start, Event(summary=session))

    def add_scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        self._add(*(Event(step=step, summary=scalar(f"{group}/{name}", value)) for name, value in values.items()))

    def add_image(self, name: str, image: Image, step: int) -> None:
        self._add(Event(step=step, summary=picture(name, np.asarray(image), dataformats="HWC")))

    def close(self) -> None:
        self._file.close()

    def _add(self, *events: Event) -> None:
        records = io.BytesIO()
        for event in events:
            event.wall_time = time.time()
            RecordWriter(records).write(event.SerializeToString())
        self._file.add(records.getvalue())


def _name_after(others: Iterable[str]) -> str:
    """Return the name of an event file. TensorBoard reads them in the order of names, whatever a clock says by now."""
    seconds = [int(match[1]) for match in (re.search(r"tfevents\.(\d+)", name) for name in others) if match]
    began = max([time.time(), *(second + 1 for second in seconds)])
    return f"events.out.tfevents.{began:017.6f}.{socket.gethostname()}.{os.getpid()}"


class Csv:
    """Tables for spreadsheets, `work_dir`/train.csv and validation.csv, with one row per step."""

    def __init__(self, config: Config, first_step: int) -> None:
        self._folder, self._first_step = Path(config.work_dir), first_step
        self._tables: dict[str, tuple[Appended, Sequence[str]]] = {}

    def add_scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        row, last = {"step": step, **values}, min(self._first_step, step - 1)
        file, columns = self._tables.get(group, (None, ()))
        if file and not row.keys() <= set(columns):  # a network may return a term from some step on
            file.close()
            file, last = None, step - 1
        if not file:
            file, columns = self._tables[group] = _open_table(self._folder / f"{group}.csv", row, last=last)
        file.add(_table(columns, [row]))

    def add_image(self, name: str, image: Image, step: int) -> None:
        pass

    def close(self) -> None:
        for file, _ in self._tables.values():
            file.close()


def _open_table(path: Path, row: Mapping[str, float], *, last: int) -> tuple[Appended, Sequence[str]]:
    """Open a table for rows like `row`, dropping rows after step `last`; return it and its columns."""
    rows: list[Mapping[str, Any]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as old:
            rows += [line for line in csv.DictReader(old) if None not in line.values() and int(line["step"]) <= last]
    columns = list(dict.fromkeys([*(rows[0] if rows else ()), *row]))
    write_file(path, _table(columns, [dict(zip(columns, columns, strict=True)), *rows]))
    return Appended(path), columns


def _table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    csv.DictWriter(text, columns).writerows(rows)
    return text.getvalue().encode()


class WeightsAndBiases:
    """A Weights & Biases run per work dir, which a resumed run continues.

    Its x axis is `step`. Steps that are repeated after a crash appear twice.
    """

    def __init__(self, config: Config, first_step: int) -> None:
        try:
            import wandb  # an optional dependency
        except ModuleNotFoundError as error:
            raise UserError("train.loggers: wandb is not installed: pip install wandb, or leave it out") from error
        work_dir = Path(config.work_dir).resolve()
        name = hashlib.sha256(str(work_dir).encode()).hexdigest()[:16]
        self._image = wandb.Image
        try:
            self._run = wandb.init(dir=work_dir, id=name, name=work_dir.name, resume="allow", config=asdict(config))
        except wandb.errors.Error as error:  # as in a job without a key
            way_out = "run `wandb login`, set WANDB_MODE=offline, or leave it out"
            raise UserError(f"train.loggers: wandb does not start: {error}; {way_out}") from error
        self._run.define_metric("*", step_metric="step")

    def add_scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        self._run.log({"step": step, **{f"{group}/{name}": value for name, value in values.items()}})

    def add_image(self, name: str, image: Image, step: int) -> None:
        self._run.log({"step": step, name: self._image(image)})

    def close(self) -> None:
        self._run.finish()


LOGGERS: dict[str, Callable[[Config, int], Logger]] = {
    "tensorboard": TensorBoard,
    "csv": Csv,
    "wandb": WeightsAndBiases,
}


def open_loggers(config: Config, *, first_step: int) -> list[Logger]:
    """Open the loggers of `train.loggers`, to log after step `first_step`. UserError for one that is no `Logger`."""
    kinds = {name: look_up(name, LOGGERS, key="train.loggers") for name in config.train.loggers}
    loggers = {name: kind(config, first_step) for name, kind in kinds.items()}
    for name, logger in loggers.items():
        if missing := [method for method in METHODS if not hasattr(logger, method)]:
            raise UserError(
                f"train.loggers: {name} returned {type(logger).__name__} without {' and '.join(missing)}; "
                "docs/extending.md has an example"
            )
        for method, takes in METHODS.items():
            require_takes(getattr(logger, method), method, takes, f"train.loggers: {method} of {name}")
    return [*loggers.values()]
