"""What a recipe may say: every key once, with its meaning, its unit and its default.

Defaults are CtP's own hyper-parameters. Batch size and learning rate are those of the whole run, so a recipe
means the same on one GPU and on eight. `configs.load` reads a YAML file into these classes.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from configs.errors import require


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the videos are and how many helpers read them."""

    root: str
    """Folder of a prepared dataset; a relative one counts from the folder where the command is started."""
    list: str | None = None
    """Text file with a video a line, such as UCF101's trainlist01.txt; relative to root. null takes all."""
    workers: int = 4
    """Processes per GPU that read the files' bytes. 0 reads in the training process."""
    threads: int | Literal["auto"] = "auto"
    """Threads per GPU that decode and augment. auto: as many as keep the GPU's decoders busy, given the cores."""
    decoder: Literal["auto", "dali", "pyav"] = "auto"
    """auto takes DALI where it has a decoder for every video on this device, and PyAV otherwise."""

    def __post_init__(self) -> None:
        require(self.workers >= 0, "workers", self.workers, "0 or more")
        require(self.threads == "auto" or self.threads >= 1, "threads", self.threads, "auto or at least 1")


@dataclass(frozen=True, kw_only=True)
class LabeledData(Data):
    """Videos to learn classes from, and those to be tested on. In the names of lists, {split} stands for `split`."""

    test_list: str | None = None
    """Text file with a test video a line; relative to root."""
    split: int = 1
    """Which of the dataset's official splits: 1 to 3 for UCF101 and HMDB51."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.split >= 1, "split", self.split, "at least 1")

    def list_of(self, part: Literal["train", "test"]) -> Path | None:
        """The file that names the videos of a part; None where none is given."""
        name = self.list if part == "train" else self.test_list
        return Path(self.root, name.replace("{split}", str(self.split))) if name else None


@dataclass(frozen=True, kw_only=True)
class Optim:
    """The optimizer. As in the original, biases and batch norms decay too unless that is turned off."""

    name: str = "sgd"
    """sgd (without Nesterov), adam, adamw, lars, or a function of another package, such as my_pkg.my_optim.lion:
    see trainers/engine/optimizers.py."""
    lr: float = 0.01
    """Learning rate that belongs to train.global_batch; the schedule multiplies it."""
    momentum: float = 0.9
    """Momentum of sgd and lars, beta1 of adam and adamw."""
    weight_decay: float = 1e-4
    """L2 penalty of sgd, lars and adam, decoupled decay of adamw."""
    decay_norms_and_biases: bool = True
    """false keeps all parameters of one axis, those of norms and biases, from weight decay."""
    clip_norm: float | None = 40.0
    """Largest L2 norm of the whole gradient. null does not clip."""
    lr_factors: tuple[tuple[str, float], ...] = ()
    """Of parts of the network: [[backbone, 0.1]] gives all parameters whose name begins with `backbone.` a tenth of the
    rate. The first part that fits counts."""

    def __post_init__(self) -> None:
        require(self.lr > 0 and math.isfinite(self.lr), "lr", self.lr, "greater than 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        if self.clip_norm is not None:
            require(self.clip_norm > 0, "clip_norm", self.clip_norm, "greater than 0, or null for none")
        for part, factor in self.lr_factors:
            require(factor > 0, f"lr_factors of {part}", factor, "greater than 0")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over time."""

    kind: Literal["step", "cosine", "warmup_cosine", "constant", "plateau"] = "step"
    """step: times gamma at each milestone. cosine: half a wave down to 0. warmup_cosine: in a line from min_lr up
    to the full rate over the first half of the run, then half a wave down to min_lr (specs/cstp.md 4). plateau: times
    gamma whenever the validation loss has not fallen in more than `patience` validations; for finetuning."""
    by: Literal["epoch", "iteration"] = "epoch"
    """Unit of the milestones, and how often cosine changes. An iteration is one optimizer step."""
    milestones: tuple[int, ...] = ()
    """Epochs or iterations, counted from 0, from which on the rate is multiplied by gamma once more."""
    gamma: float = 0.1
    """Factor of a milestone."""
    patience: int = 10
    """Validations in a row without a lower loss that plateau bears."""
    min_lr: float = 1e-5
    """Least rate of warmup_cosine."""
    warmup_iters: int = 0
    """Optimizer steps of linear warm-up from warmup_ratio to 1 times the scheduled rate."""
    warmup_ratio: float = 0.1
    """Share of the scheduled rate at the first step of the warm-up."""

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((0, *self.milestones), self.milestones, strict=False))
        require(rising, "milestones", list(self.milestones), "positive and strictly increasing")
        require(
            self.kind == "step" or not self.milestones,
            "milestones",
            list(self.milestones),
            "empty unless kind is step",
        )
        require(self.gamma > 0, "gamma", self.gamma, "greater than 0")
        require(self.patience >= 0, "patience", self.patience, "0 or more")
        require(self.min_lr >= 0, "min_lr", self.min_lr, "0 or more")
        require(self.warmup_iters >= 0, "warmup_iters", self.warmup_iters, "0 or more")
        require(0 < self.warmup_ratio <= 1, "warmup_ratio", self.warmup_ratio, "above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class Train:
    """The loop."""

    epochs: int
    """Passes over the dataset."""
    global_batch: int = 32
    """Videos per optimizer step, over all ranks and micro-steps."""
    accumulate: int = 1
    """Micro-steps whose gradients are averaged into one optimizer step; divides the memory need."""
    sync_bn: bool = True
    """Batch norm statistics over all ranks instead of each rank's own part. CUDA only."""
    amp: Literal["bf16", "off"] = "off"
    """bf16: forward pass in bfloat16 where that is safe. CUDA only."""
    channels_last: bool = True
    """Memory order of activations and 3D kernels; changes speed, not results."""
    compile: bool = False
    """torch.compile the network: minutes at the start, faster steps after."""
    checkpoint_every: int = 500
    """Optimizer steps between checkpoints; there is always one at the end and after SIGTERM."""
    keep: int = 2
    """Newest checkpoints that stay on the disk. Two survive a damaged file."""
    log_every: int = 10
    """Optimizer steps between lines of metrics.jsonl and of the loggers."""
    loggers: tuple[str, ...] = ("tensorboard",)
    """Where figures go besides metrics.jsonl: any of tensorboard, csv and wandb (Weights & Biases), or a class of
    another package: see trainers/engine/loggers.py."""

    def __post_init__(self) -> None:
        for key in ("epochs", "global_batch", "accumulate", "checkpoint_every", "keep", "log_every"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")


@dataclass(frozen=True, kw_only=True)
class Config:
    """A recipe."""

    task: str
    """Pretext task: the module of that name in dali_pipelines/tasks and in nets/tasks. With a dot, a package of yours:
    my_pkg.my_task has the modules data and net."""
    backbone: str
    """Network: a name in nets/backbones/__init__.py, or a function of another package, such as my_pkg.my_net.make."""
    work_dir: str
    """Folder that receives checkpoints, metrics.jsonl, the loggers' files and config.yaml."""
    seed: int = 7
    """Decides the order of the videos, every augmentation and the network's first weights."""
    data: Data
    """See Data."""
    plan: Any
    """Options of the data: the Config of dali_pipelines/tasks/<task>.py. Left out, its defaults hold."""
    net: Any
    """Options of head and loss: the Config of nets/tasks/<task>.py. Left out, its defaults hold."""
    optim: Optim = field(default_factory=Optim)
    """See Optim."""
    schedule: Schedule = field(default_factory=Schedule)
    """See Schedule."""
    train: Train
    """See Train."""

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**63, "seed", self.seed, "0 or more, and less than 2**63")
        waits = self.schedule.kind == "plateau" and self.task != "recognition"
        require(not waits, "schedule.kind", "plateau", "another one: pretraining has no validation loss to wait for")
        if self.schedule.milestones and self.schedule.by == "epoch":
            last, epochs = self.schedule.milestones[-1], self.train.epochs
            require(
                last < epochs,
                "schedule.milestones",
                list(self.schedule.milestones),
                f"below train.epochs = {epochs}",
            )


@dataclass(frozen=True, kw_only=True)
class ValidationReference:
    """What the originals do and this does not, unless asked for."""

    select_on_test: bool = False
    """Choose the best checkpoint by the test videos, and train on all others: its accuracy is then too high."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """Which checkpoint is the best."""

    share: float = 0.1
    """Share of each class's training videos that are kept from training, to choose by. UCF101 and HMDB51 cut several
    clips from one film: they stay together. 0 does not validate."""
    every: int = 1
    """Epochs from one validation to the next; there is one at the end in any case."""
    reference: ValidationReference = field(default_factory=ValidationReference)
    """The originals' flaws, each off unless named."""

    def __post_init__(self) -> None:
        require(0 <= self.share < 1, "share", self.share, "at least 0 and below 1")
        require(self.every >= 1, "every", self.every, "at least 1")


@dataclass(frozen=True, kw_only=True)
class Recognition(Config):
    """A recipe for finetuning: `task: recognition`.

    `plan` is the Config of dali_pipelines/tasks/recognition.py, `net` that of nets/classifier.py.
    """

    data: LabeledData
    """See LabeledData."""
    validation: Validation = field(default_factory=Validation)
    """See Validation."""


def batch_per_rank(train: Train, world_size: int) -> int:
    """Videos in one batch of one rank. ValueError when the global batch cannot be shared out evenly."""
    parts = world_size * train.accumulate
    size, rest = divmod(train.global_batch, parts)
    if rest:
        nearest = max(parts, round(train.global_batch / parts) * parts)
        raise ValueError(
            f"train.global_batch = {train.global_batch} is not divisible by {world_size} ranks x "
            f"{train.accumulate} micro-steps (train.accumulate); the nearest that is: {nearest}"
        )
    return size
