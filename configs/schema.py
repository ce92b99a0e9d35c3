"""The schema of recipes: every key with its meaning, unit and default.

Defaults are CtP's hyperparameters. Batch size and learning rate apply to the whole run, so a recipe means the same on
one GPU and on eight, except for what the originals compute per GPU: batch norm without train.sync_bn, and losses with
net.negatives = rank. `configs.load` reads a YAML file into these classes.
"""

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from configs.errors import UserError, require
from configs.optim import Optim, Schedule

MOST_WORKERS = 1024
"""Largest number of processes, or of threads, that read for a GPU: beyond the cores of any machine, more cost time."""


@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the videos are, and the resources to read them."""

    root: str
    """Folder of a prepared dataset, or its URL; relative to the current directory. In this and other paths, ~ and
    $VARIABLES are expanded."""
    list: str | None = None
    """List of videos, such as UCF101's trainlist01.txt; relative to root. null takes all. docs/datasets.md has the
    formats."""
    missing: Literal["error", "skip"] = "error"
    """What to do about listed videos that the dataset lacks. skip names them and continues without them."""
    workers: int = 4
    """Processes per GPU that read videos. 0 reads in the training process."""
    threads: int | Literal["auto"] = "auto"
    """Threads per GPU that decode and augment. auto: as many as keep the GPU's decoders busy, given the cores."""
    decoder: Literal["auto", "dali", "pyav"] = "auto"
    """auto takes DALI if it can decode every video on this device, and otherwise PyAV."""

    timeout_s: float = 120.0
    """Seconds that a worker may take for a sample before it is killed. A video that hangs two workers is unreadable."""
    most_unreadable: float = 0.1
    """Share of the samples whose unreadable videos may be replaced by others; beyond it, training ends."""

    def __post_init__(self) -> None:
        require(0 <= self.workers <= MOST_WORKERS, "workers", self.workers, f"from 0 to {MOST_WORKERS}")
        require(self.timeout_s > 0, "timeout_s", self.timeout_s, "greater than 0")
        require(0 <= self.most_unreadable <= 1, "most_unreadable", self.most_unreadable, "from 0 to 1")
        fits = self.threads == "auto" or 1 <= self.threads <= MOST_WORKERS
        require(fits, "threads", self.threads, f"auto, or from 1 to {MOST_WORKERS}")


@dataclass(frozen=True, kw_only=True)
class LabeledData(Data):
    """Videos for training and testing a classifier. {split} in list names stands for `split`."""

    test_list: str | None = None
    """List of the test videos; relative to root."""
    split: int = 1
    """Which of the dataset's official splits: 1 to 3 for UCF101 and HMDB51."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.split >= 1, "split", self.split, "at least 1")

    def list_of(self, subset: Literal["train", "test"]) -> str | None:
        """Return the list of a subset, a path or URL; None takes all videos.

        UserError if a test has no list, or if the list's name has no place for the split.
        """
        name = self.list if subset == "train" else self.test_list
        if subset == "test" and not name:
            raise UserError("data.test_list: missing; name the file that lists the test videos, such as testlist01.txt")
        if not name:
            return None
        if self.split != 1 and "{split}" not in name:
            key = "list" if subset == "train" else "test_list"
            raise UserError(
                f"data.split = {self.split} changes nothing in data.{key} = {name!r}: put {{split}} where the number "
                "stands in its name, or set data.split=1"
            )
        name = name.replace("{split}", str(self.split))
        return name if "://" in name else os.path.join(self.root, name)  # a Path would make one slash of two


@dataclass(frozen=True, kw_only=True)
class Train:
    """The training loop."""

    epochs: int
    """Passes over the dataset."""
    global_batch: int = 32
    """Videos per optimizer step, over all ranks and micro-steps."""
    accumulate: int = 1
    """Micro-steps whose gradients are averaged into one optimizer step; saves memory."""
    sync_bn: bool = True
    """Compute batch norm statistics over all ranks instead of per rank. CUDA only."""
    amp: Literal["bf16", "off"] = "off"
    """bf16: forward pass in bfloat16 where safe. CUDA only."""
    channels_last: bool = True
    """Memory format of activations and 3-D kernels; affects speed, not results."""
    compile: bool = False
    """Compile the network with torch.compile: minutes at the start, faster steps after."""
    checkpoint_every: int = 500
    """Optimizer steps between checkpoints. The end of the run and SIGTERM always write one."""
    keep: int = 2
    """Number of newest checkpoints to keep. Two survive one damaged file."""
    full_disk: Literal["stop", "go_on"] = "stop"
    """What to do when a checkpoint or metrics cannot be written. go_on tries again later, but the last checkpoint must
    succeed."""
    skip_nonfinite: int = 0
    """Consecutive steps that may be skipped because their gradient is not finite. One more ends the run."""
    timeout_s: float | None = 600.0
    """Seconds after which a step that hangs ends the run, with the stacks of its processes. null waits forever."""
    log_every: int = 10
    """Optimizer steps between lines of metrics.jsonl and of the loggers."""
    online_probe: bool = False
    """Log rankme and, if the videos have classes, online_top1 of a linear classifier trained during the run, without
    changing the run. It costs a forward pass of one clip per video, in the last micro-step of each step."""
    loggers: tuple[str, ...] = ("tensorboard",)
    """Where metrics go besides metrics.jsonl: any of tensorboard, csv and wandb (Weights & Biases), or a class of
    another package: see trainers/engine/loggers.py."""

    def __post_init__(self) -> None:
        for key in ("epochs", "global_batch", "accumulate", "checkpoint_every", "keep", "log_every"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "at least 1")
        require(self.skip_nonfinite >= 0, "skip_nonfinite", self.skip_nonfinite, "0 or more")
        if self.timeout_s is not None:
            require(self.timeout_s > 0, "timeout_s", self.timeout_s, "greater than 0, or null for none")


@dataclass(frozen=True, kw_only=True)
class Config:
    """A recipe."""

    task: str
    """Pretext task: the module of that name in dali_pipelines/tasks and nets/tasks. With a dot, a package of your own:
    my_pkg.my_task has the modules data and net."""
    backbone: str
    """Network: a name in nets/backbones/__init__.py, or a function of another package, such as my_pkg.my_net.make."""
    work_dir: str
    """Folder for checkpoints, metrics.jsonl, the loggers' files and config.yaml."""
    seed: int = 7
    """Determines the order of the videos, all augmentations and the initial weights."""
    data: Data
    """See Data."""
    plan: Any
    """Options of the samples: the Config of dali_pipelines/tasks/<task>.py."""
    net: Any
    """Options of head and loss: the Config of nets/tasks/<task>.py."""
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
        below, milestones = f"below train.epochs = {self.train.epochs}", list(self.schedule.milestones)
        if milestones and self.schedule.by == "epoch":
            require(milestones[-1] < self.train.epochs, "schedule.milestones", milestones, below)
        warmup = self.schedule.warmup_epochs or 0
        require(warmup < self.train.epochs, "schedule.warmup_epochs", warmup, below)


@dataclass(frozen=True, kw_only=True)
class ValidationReference:
    """Bugs of the originals that can be switched on to reproduce them."""

    select_on_test: bool = False
    """Select the best checkpoint on the test videos and train on all training videos: overestimates the accuracy."""


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How to select the best checkpoint."""

    share: float = 0.1
    """Share of each class's training videos to hold out. Clips that UCF101 and HMDB51 cut from one video stay together.
    0 turns validation off."""
    every: int = 1
    """Epochs between validations; the run always ends with one."""
    reference: ValidationReference = field(default_factory=ValidationReference)
    """Bugs of the originals, all off by default."""

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
