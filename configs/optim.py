"""The keys of a recipe for the optimizer and its learning rate."""

from dataclasses import dataclass
from typing import Literal

from configs.errors import require


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
        fits = self.kind == "step" or not self.milestones
        require(fits, "milestones", list(self.milestones), "empty unless kind is step")
        require(0 < self.gamma <= 1, "gamma", self.gamma, "above 0 and at most 1")
        for key in ("patience", "min_lr", "warmup_iters"):
            require(getattr(self, key) >= 0, key, getattr(self, key), "0 or more")
        if self.warmup_epochs is not None:
            only = f"null unless kind is warmup_cosine, and kind is {self.kind}"
            require(self.kind == "warmup_cosine", "warmup_epochs", self.warmup_epochs, only)
            require(self.warmup_epochs >= 0, "warmup_epochs", self.warmup_epochs, "0 or more")
        require(0 < self.warmup_ratio <= 1, "warmup_ratio", self.warmup_ratio, "above 0 and at most 1")
