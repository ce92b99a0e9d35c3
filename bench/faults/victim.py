"""Run a training command that reports its current activity in shared memory, and can be held there to be killed.

A server imports everything once and forks itself for each command: 0.1 s of CPU time instead of 4 s.
"""

import functools
import json
import mmap
import os
import random
import runpy
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver, get_context
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch

from bench.faults.fork import become_command
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store import files
from trainers.commands import finetune, pretrain
from trainers.engine import checkpoint, fit, loop, run
from trainers.engine.metrics import Metrics
from trainers.engine.run import Batch
from trainers.evaluation import validation

ROOT = Path(__file__).parents[2]
START_UP, TRAINING, END = "start-up", "training", "end"
"""Activities of a command outside of MARKED."""
MARKED: tuple[tuple[Any, str, str], ...] = (
    (pretrain, "open_data", "open the data"),
    (finetune, "open_data", "open the data"),
    (ClipLoader, "__init__", "start the loader"),
    (fit, "resume", "resume"),
    (Path, "rename", "set aside"),
    (fit, "open_loggers", "open the logs"),
    (Metrics, "__init__", "open the logs"),
    (loop, "train_step", "step"),
    (torch.optim.AdamW, "step", "update"),
    (Metrics, "add", "log"),
    (Metrics, "flush", "log"),
    (loop, "save", "checkpoint"),
    (torch, "save", "write"),
    (checkpoint, "sync", "fsync"),
    (run, "sync", "fsync"),
    (files, "sync", "fsync"),
    (os, "replace", "rename"),
    (Path, "unlink", "delete"),
    (loop, "_validate", "validation"),
    (validation, "predict", "predict"),
    (validation.Validator, "_write", "best.pt"),
    (Metrics, "add_validation", "log"),
    (Metrics, "__exit__", "close the logs"),
)
"""Functions and the names of their activities; nested ones have both names."""
BYTES = 256
HELD_S = 60
"""Seconds that a process waits to be killed. Then it continues, in case its killer has died."""


class Board:
    """The activity of a process, in a memory-mapped file that outlives the process."""

    def __init__(self, path: Path) -> None:
        with path.open("a+b") as file:
            file.truncate(BYTES)
            self._memory = mmap.mmap(file.fileno(), BYTES)

    def clear(self) -> None:
        """Forget the previous process."""
        self._memory[:] = bytes(BYTES)

    def write(self, label: str, *, held: bool = False) -> None:
        """Write this process's activity, and whether it is held there."""
        self._memory[:] = bytes([held]) + label.encode().ljust(BYTES - 1, b"\0")

    def read(self) -> tuple[str, bool]:
        """Return the arguments of the last `write`."""
        held, *label = self._memory[:]
        return bytes(label).rstrip(b"\0").decode(), bool(held)


class Marks:
    """Write this process's activity to a board, and hold the process when it reaches `aim` for the `nth` time."""

    def __init__(self, board: Board, aim: str, nth: int) -> None:
        self.board, self.aim, self.nth = board, aim, nth
        self.part, self.stack, self.seen = START_UP, list[str](), Counter[str]()
        board.write(START_UP)

    @property
    def label(self) -> str:
        """The current activity."""
        return ": ".join([self.part] * (self.part != TRAINING or not self.stack) + self.stack)

    @contextmanager
    def at(self, name: str) -> Iterator[None]:
        """Set the activity to `name` during the block."""
        self.stack.append(name)
        label = self.label
        self.seen[label] += 1
        held = label == self.aim and self.seen[label] == self.nth
        self.board.write(label, held=held)
        if held:
            time.sleep(HELD_S)
        try:
            yield
        finally:
            self.stack.pop()
            self.board.write(self.label)

    def mark(self, owner: Any, attribute: str, name: str) -> None:
        """Wrap a function, so its activity is `name` while it runs."""
        real = getattr(owner, attribute)

        @functools.wraps(real)
        def marked(*args: Any, **kwargs: Any) -> Any:
            with self.at(name):
                return real(*args, **kwargs)

        setattr(owner, attribute, marked)

    def mark_all(self) -> None:
        """Mark MARKED, each fetch of a batch, and the three parts of a command."""
        for owner, attribute, name in MARKED:
            self.mark(owner, attribute, name)
        endless: Callable[..., Iterator[Batch]] = loop.endless
        train: Callable[..., loop.Ending] = vars(fit)["train"]

        def fetching(loader: Iterable[Batch]) -> Iterator[Batch]:
            batches = endless(loader)
            while True:
                with self.at("fetch"):
                    batch = next(batches)
                yield batch

        def training(*args: Any, **kwargs: Any) -> loop.Ending:
            self.part = TRAINING
            try:
                return train(*args, **kwargs)
            finally:
                self.part = END

        vars(loop)["endless"], vars(fit)["train"] = fetching, training


def start(argv: list[str], output: Path, board: Path, *, aim: str, nth: int) -> ForkServerProcess:
    """Start a command in a new session, printing to `output`; see `Marks` for `aim` and `nth`."""
    forkserver.set_forkserver_preload([__name__, "torch.utils.tensorboard"])
    process = get_context("forkserver").Process(target=_be, args=(argv, output, board, aim, nth))
    process.start()
    return process


def _be(argv: list[str], output: Path, board: Path, aim: str, nth: int) -> None:
    os.setsid()
    os.sched_setaffinity(0, {random.SystemRandom().choice([*os.sched_getaffinity(0)])})  # one thread for the network
    become_command(argv, output)
    began, marks = time.monotonic(), Marks(Board(board), aim, nth)
    marks.mark_all()
    try:
        runpy.run_path(argv[0], run_name="__main__")
    finally:
        seconds = time.monotonic() - began
        board.with_suffix(".json").write_text(json.dumps({"seconds": seconds, "labels": marks.seen}))
