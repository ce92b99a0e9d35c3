"""Train with one rank that is killed, or raises, when it reaches a phase of a step.

`failing_worker.py PROGRAM PHASE RANK STEP kill|raise --config ...`: PROGRAM is "fake" (`loop_worker.py`) or "finetune";
with PHASE "none", nothing fails.
"""

import os
import signal
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from configs.errors import run_cli
from tests.helpers import loop_worker
from trainers.commands import finetune
from trainers.engine import checkpoint, loop
from trainers.engine.distributed import Ranks
from trainers.engine.metrics import Metrics
from trainers.evaluation import validation

OF_A_STEP: dict[str, tuple[Any, str]] = {
    "fetch": (loop_worker.Net, "before_step"),
    "forward": (loop_worker.Net, "forward"),
    "backward": (Tensor, "backward"),
    "clip": (nn.utils, "clip_grad_norm_"),
    "update": (torch.optim.SGD, "step"),
    "gather": (Ranks, "gather"),
}
OF_RANK_0: dict[str, tuple[Any, str]] = {
    "log": (Metrics, "add"),
    "save": (checkpoint, "write"),
    "write": (torch, "save"),
    "rename": (os, "replace"),
    "renamed": (checkpoint, "sync"),
    "delete": (Path, "unlink"),
}
OF_VALIDATION: dict[str, tuple[Any, str]] = {
    "predict": (validation, "predict"),
    "best.pt": (checkpoint, "write"),
}
PROGRAMS = {"fake": loop_worker.main, "finetune": finetune.main}


def main(argv: list[str]) -> int:
    program, phase, rank, step, how, *arguments = argv
    train = PROGRAMS[program]
    if phase == "none" or rank != os.environ["RANK"]:
        return train(arguments)
    current = mock.Mock(step=0)
    train_step, validate = loop.train_step, loop._validate

    def record_step(run: Any, batches: Any, number: int, **options: Any) -> loop.Step:
        current.step = 0 if phase in OF_VALIDATION else number + 1
        return train_step(run, batches, number, **options)

    def record_validation_step(run: Any, metrics: Any, folder: Path, number: int, **more: Any) -> Path | None:
        current.step = number
        return validate(run, metrics, folder, number, **more)

    owner, name = (OF_A_STEP | OF_RANK_0 | OF_VALIDATION)[phase]
    real = getattr(owner, name)

    def fail_at_phase(*args: Any, **kwargs: Any) -> Any:
        if current.step == int(step) and (phase != "delete" or args[0].name.startswith("step_")):
            if how == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise RuntimeError(f"failed at {phase}")
        return real(*args, **kwargs)

    with (
        mock.patch.object(loop, "train_step", record_step),
        mock.patch.object(loop, "_validate", record_validation_step),
        mock.patch.object(owner, name, fail_at_phase),
    ):
        return train(arguments)


if __name__ == "__main__":
    run_cli(main)
