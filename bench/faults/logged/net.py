"""A network that logs its samples, and whose steps depend on the samples but not on how ranks share them."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import adaptive_avg_pool3d

from bench.faults.logged.runs import samples_of
from nets.tasks import Pretext, Schema

METRIC = "loss"
POOLED = (2, 4, 4)


@dataclass(frozen=True)
class Config:
    """What recipes set under `net`."""

    log: str
    """Log file, one line per step and rank: step, rank, world size, then row and digest of each sample."""


class Net(Pretext):
    """Predict a number that belongs to the video."""

    steps: Tensor
    """Optimizer steps begun, over all parts of the run."""

    def __init__(self, log: str) -> None:
        super().__init__()
        self.log = log
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(3 * 2 * 4 * 4, 16), nn.Tanh(), nn.Linear(16, 1))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def before_step(self, epoch: int) -> None:
        self.steps += 1

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        joined = distributed.is_initialized()
        rank, world = (distributed.get_rank(), distributed.get_world_size()) if joined else (0, 1)
        file = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, " ".join([f"{self.steps} {rank} {world}", *samples_of(batch), "\n"]).encode())
        os.close(file)
        predicted = self.head(adaptive_avg_pool3d(batch["clips"], POOLED)).squeeze(1)
        return {"loss": (predicted - torch.cos(batch["index"].float())).square().mean()}


def build(backbone: str, schema: Schema, cfg: Config) -> Net:
    return Net(cfg.log)
