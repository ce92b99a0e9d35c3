"""Run `trainers/pretrain.py` on a made-up task without videos, for test_loop.py and test_loop_processes.py.

Everything but the dataset and the network is real. With the network's dropout and batch norm, a resumed run equals an
uninterrupted one only if all state is restored, that of random generators included.
"""

import gc
import os
import signal
import sys
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from torch import nn
from torch.distributed import destroy_process_group

import nets.tasks
from configs.errors import run_cli
from dali_pipelines.store.ragged import Ragged
from dali_pipelines.tasks import Annotations
from trainers.commands import pretrain

VIDEOS = 42


@dataclass(frozen=True)
class Config:
    nan_row: int = -1
    """This row's input is NaN."""
    term_step: int = -1
    """Send SIGTERM to the last rank while it fetches the batch of this micro-step."""
    int_step: int = -1
    """The same with SIGINT, as Ctrl-C."""
    kill_step: int = -1
    """The same with SIGKILL."""
    hang_step: int = -1
    """The last rank never fetches the batch of this micro-step."""
    seconds: float = 0.0
    """Duration of a fetch."""
    frames: int = 50
    """Length of every video."""
    lost_row: int = -1
    """No rank can read this row; the rank that fetches it reports it."""


@dataclass(frozen=True)
class NetConfig:
    width: int = 8
    nan_row: int = -1
    """This row's loss is NaN, though its input is not."""
    plain: bool = False
    """Leave out batch norm and dropout, so that a step depends on its videos but not on which rank has which."""
    term_of_rank: bool = False
    """Return a term that is called "rank0" on rank 0, and so on."""


class Index:
    root = "nowhere"
    class_names = ("even", "odd")
    names = Ragged.of_texts(f"class/video_{row:02d}" for row in range(VIDEOS))
    labels = np.arange(VIDEOS) % 2
    fps = np.zeros(VIDEOS)
    sizes_WH = np.zeros((VIDEOS, 2))

    def __init__(self, frames: int) -> None:
        self.num_frames = np.full(VIDEOS, frames)

    def __len__(self) -> int:
        return VIDEOS

    def info(self, row: int) -> types.SimpleNamespace:
        return types.SimpleNamespace(name=self.names.text(row), num_frames=int(self.num_frames[row]))

    def class_name(self, row: int) -> str:
        return ""

    @property
    def whole(self) -> "Index":
        return self

    def numbers(self, column: str, dtype: type) -> np.ndarray:
        return np.zeros(VIDEOS, dtype)

    def texts(self, column: str) -> Ragged:
        return self.names


class Loader:
    """Batches of a permutation that depends on seed and epoch alone."""

    def __init__(self, config, ranks, _) -> None:
        self.config, self.ranks, self.index, self.step = config, ranks, Index(config.plan.frames), 0
        self.counts = types.SimpleNamespace(amplification=1.5, replaced=0)
        self.unreadable: dict[str, str] = {}
        self.too_short: dict[str, str] = {}
        self.task = types.SimpleNamespace(
            batch_schema={"clips": ((3, 4, 8, 8), np.float32)},
            program=types.SimpleNamespace(normalization="imagenet"),
            plan=lambda video, rng: {"frames": rng.integers(config.plan.frames, size=4)},
            annotate=lambda plan: Annotations(captions=["frames " + " ".join(map(str, plan["frames"]))]),
        )
        self.batch = config.train.global_batch // ranks.world_size // config.train.accumulate

    @property
    def order(self) -> types.SimpleNamespace:
        return types.SimpleNamespace(seed=self.config.seed, at=lambda step: divmod(step, len(self)))

    def __len__(self) -> int:
        return VIDEOS // (self.batch * self.ranks.world_size)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        epoch = self.step // len(self)
        rows = torch.randperm(VIDEOS, generator=torch.Generator().manual_seed(self.config.seed * 1000 + epoch))
        while self.step // len(self) == epoch:
            plan, place = self.config.plan, self.step % len(self)
            time.sleep(plan.seconds)
            if self.ranks.rank == self.ranks.world_size - 1 and self.step == plan.hang_step:
                time.sleep(10**6)
            if self.ranks.rank == self.ranks.world_size - 1:
                steps = {plan.term_step: signal.SIGTERM, plan.int_step: signal.SIGINT, plan.kill_step: signal.SIGKILL}
                for step, number in steps.items():
                    if self.step == step:
                        os.kill(os.getpid(), number)
            begin = (place * self.ranks.world_size + self.ranks.rank) * self.batch
            index = rows[begin : begin + self.batch]
            clips = torch.sin(index.view(-1, 1, 1, 1, 1) + torch.arange(3 * 4 * 8 * 8.0).view(1, 3, 4, 8, 8))
            clips[index == plan.nan_row] = torch.nan
            if plan.lost_row in index:
                self.unreadable[self.index.info(plan.lost_row).name] = f"rank {self.ranks.rank} cannot read it"
            self.step += 1
            yield {"clips": clips, "index": index}

    def state_dict(self) -> dict[str, int]:
        return {"step": self.step}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.step = state["step"]

    def refill(self) -> None:
        pass

    def remember(self, unreadable) -> None:
        self.unreadable |= unreadable

    def close(self) -> None:
        pass


class Net(nets.tasks.Pretext):
    def __init__(self, cfg: NetConfig) -> None:
        super().__init__()
        self.nan_row, self.term_of_rank = cfg.nan_row, cfg.term_of_rank
        norm = nn.Identity() if cfg.plain else nn.BatchNorm3d(cfg.width)
        dropout = nn.Dropout(0.0 if cfg.plain else 0.5)
        self.backbone = nn.Sequential(nn.Conv3d(3, cfg.width, 3), norm, nn.ReLU())  # type: ignore[assignment]  # a fake
        self.backbone.out_channels = cfg.width
        self.head = nn.Sequential(nn.Flatten(), dropout, nn.Linear(cfg.width * 2 * 6 * 6, 1))

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        target = torch.cos(batch["index"].float()).masked_fill(batch["index"] == self.nan_row, torch.nan)
        loss = (self.head(self.backbone(batch["clips"])).squeeze(1) - target).square().mean()
        of_rank = {f"rank{os.environ.get('RANK')}": target.mean()} if self.term_of_rank else {}
        return {"loss": loss, "target": target.mean(), **of_rank}


def end_group() -> None:
    """Destroy the process group; no network may still refer to it (`training.on_ranks`)."""
    assert not [each for each in gc.get_objects() if type(each) is nn.parallel.DistributedDataParallel]
    destroy_process_group()


def main(argv: list[str]) -> int:
    modules = {}
    for name, config in {"dali_pipelines.tasks.fake": Config, "nets.tasks.fake": NetConfig}.items():
        modules[name] = types.ModuleType(name)
        modules[name].__dict__.update(Config=config, METRIC="target")
    with (
        mock.patch.dict(sys.modules, modules),
        mock.patch.object(pretrain, "build_net", lambda config: Net(config.net)),
        mock.patch.object(pretrain, "open_data", return_value=types.SimpleNamespace(index=None, notes=[], missing=())),
        mock.patch.object(pretrain, "build_loader", Loader),
        mock.patch.object(torch.distributed, "destroy_process_group", end_group),
    ):
        return pretrain.main(argv)


if __name__ == "__main__":
    run_cli(main)
