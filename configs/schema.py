"""The schema of recipes: every key with its meaning, unit and default.

Defaults are CtP's hyperparameters. Batch size and learning rate apply to the whole run, so a recipe means the same on
one GPU and on eight, except for what the originals compute per GPU: batch norm without train.sync_bn, and losses with
net.negatives = rank. `configs.load` reads a YAML file into these classes.
"""

import os
from dataclasses import dataclass, field
from typing import Any, Literal

from configs.errors import UserError, require


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
        require(self.workers >= 0, "workers", self.workers, "0 or more")
        require(self.timeout_s > 0, "timeout_s", self.timeout_s, "greater than 0")
        require(0 <= self.most_unreadable <= 1, "most_unreadable", self.most_unreadable, "from 0 to 1")
        require(self.threads == "auto" or self.threads >= 1, "threads", self.threads, "auto or at least 1")


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
class Optim:
    """The optimizer. As in the original, weight decay includes biases and batch norms unless that is turned off."""

    name: str = "sgd"
    """sgd (without Nesterov), adam, adamw, lars, or a function of another package, such as my_pkg.my_optim.lion:
    see trainers/engine/optimizers.py."""
    lr: float = 0.01
    """Learning rate for train.global_batch; the schedule scales it."""
    momentum: float = 0.9
    """Momentum of sgd and lars, beta1 of adam and adamw."""
    beta2: float = 0.999
    """beta2 of adam and adamw."""
    weight_decay: float = 1e-4
    """L2 penalty of sgd, lars and adam, decoupled decay of adamw."""
    decay_norms_and_biases: bool = True
    """false exempts parameters with one axis, those of norms and biases, from weight decay."""
    clip_norm: float | None = 40.0
    """Maximum L2 norm of the whole gradient. null does not clip."""
    lr_factors: tuple[tuple[str, float], ...] = ()
    """Per module: [[backbone, 0.1]] gives parameters whose names begin with `backbone.` a tenth of the learning rate.
    The first match applies."""
    layer_decay: float | None = None
    """Layer-wise decay of the learning rate, as in BEiT's and VideoMAE's finetuning: the backbone's last layer has this
    share of the rate, and each layer below has this share of the one above. The head and a final norm keep the full
    rate. Multiplies lr_factors. null for none."""

    def __post_init__(self) -> None:
        require(self.lr > 0, "lr", self.lr, "greater than 0")
        for key in ("momentum", "beta2"):
            require(0 <= getattr(self, key) < 1, key, getattr(self, key), "at least 0 and below 1")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, "0 or more")
        if self.clip_norm is not None:
            require(self.clip_norm > 0, "clip_norm", self.clip_norm, "greater than 0, or null for none")
        for part, factor in self.lr_factors:
            require(factor > 0, f"lr_factors of {part}", factor, "greater than 0")
        if self.layer_decay is not None:
            require(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "above 0 and at most 1, or null")


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over time."""

    kind: Literal["step", "cosine", "warmup_cosine", "constant", "plateau"] = "step"
    """step: times gamma at each milestone. cosine: half a cosine down to 0. warmup_cosine: linear from min_lr to the
    full rate over warmup_epochs, then half a cosine down to min_lr (specs/cstp.md 4). plateau: times gamma
    whenever the validation loss has not fallen for more than `patience` validations; finetuning only."""
    by: Literal["epoch", "iteration"] = "epoch"
    """Unit of the milestones, and how often cosine is updated. An iteration is one optimizer step."""
    milestones: tuple[int, ...] = ()
    """Epochs or iterations, counted from 0, at which the rate is multiplied by gamma."""
    gamma: float = 0.1
    """Factor of step and plateau."""
    patience: int = 10
    """Consecutive validations without a lower loss that plateau tolerates."""
    min_lr: float = 1e-5
    """Minimum rate of warmup_cosine."""
    warmup_epochs: int | None = None
    """Warm-up epochs of warmup_cosine; null is the first half of the run."""
    warmup_iters: int = 0
    """Optimizer steps of linear warmup from warmup_ratio to 1 times the scheduled rate."""
    warmup_ratio: float = 0.1
    """Share of the scheduled rate at the first step of the warmup."""

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip((0, *self.milestones), self.milestones, strict=False))
        require(rising, "milestones", list(self.milestones), "positive and strictly increasing")
        require(
            self.kind == "step" or not self.milestones,
            "milestones",
            list(self.milestones),
            "empty unless kind is step",
        )
        require(0 < self.gamma <= 1, "gamma", self.gamma, "above 0 and at most 1")
        for key in ("patience", "min_lr", "warmup_iters"):
            require(getattr(self, key) >= 0, key, getattr(self, key), "0 or more")
        if self.warmup_epochs is not None:
            only = f"null unless kind is warmup_cosine, and kind is {self.kind}"
            require(self.kind == "warmup_cosine", "warmup_epochs", self.warmup_epochs, only)
            require(self.warmup_epochs >= 0, "warmup_epochs", self.warmup_epochs, "0 or more")
        require(0 < self.warmup_ratio <= 1, "warmup_ratio", self.warmup_ratio, "above 0 and at most 1")


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
        if self.schedule.milestones and self.schedule.by == "epoch":
            last, epochs = self.schedule.milestones[-1], self.train.epochs
            require(
                last < epochs,
                "schedule.milestones",
                list(self.schedule.milestones),
                f"below train.epochs = {epochs}",
            )
        warmup, epochs = self.schedule.warmup_epochs or 0, self.train.epochs
        require(warmup < epochs, "schedule.warmup_epochs", warmup, f"below train.epochs = {epochs}")


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
