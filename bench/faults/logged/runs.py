"""Write the recipe of a run that logs its samples, and read its log."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

from bench.faults.workers import digest
from dali_pipelines.tasks import ctp


def write_recipe(
    path: Path, log: Path, *, plan: ctp.Config, data: Mapping[str, Any], train: Mapping[str, int], **more: Any
) -> None:
    """Write a recipe; `data` and `train` extend the defaults of their sections, `more` is for the top level."""
    recipe = {
        "task": "bench.faults.logged",
        "backbone": "r3d_tiny",
        "data": {"threads": 1, **data},
        "plan": {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(plan).items()},
        "net": {"log": str(log)},
        "schedule": {"kind": "constant"},
        "train": {"log_every": 1, "loggers": [], **train},
        **more,
    }
    path.write_text(yaml.safe_dump(recipe))


def samples_of(batch: Mapping[str, torch.Tensor]) -> list[str]:
    """Return each sample of a batch as it is logged: the row that was read, and a digest of its tensors."""
    rows = batch["index"].tolist()
    return [f"{row}:{digest({name: of[i] for name, of in batch.items()}).hex()}" for i, row in enumerate(rows)]


def read_log(log: Path) -> list[tuple[int, int, int, list[str]]]:
    """Return the step, rank, number of ranks and samples of each line."""
    lines = (line.split() for line in log.read_text().splitlines())
    return [(int(step), int(rank), int(world), samples) for step, rank, world, *samples in lines]
