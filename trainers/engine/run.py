"""The parts of a run, and its way into a checkpoint and back."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

import yaml
from torch import Tensor, nn
from torch.optim import Optimizer

from configs.errors import UserError
from configs.load import dump
from configs.schema import Config
from dali_pipelines.datasets.fates import UNREADABLE_FILE, write_reasons
from nets.tasks import Pretext
from trainers.engine import checkpoint, identity
from trainers.engine.distributed import Ranks
from trainers.engine.schedule import lr_at

Batch = dict[str, Tensor]


class Loader(Protocol):
    """What the loop needs of `dali_pipelines.loader.ClipLoader`."""

    unreadable: dict[str, str]

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Batch]: ...
    def state_dict(self) -> dict[str, int]: ...
    def load_state_dict(self, state: dict[str, int]) -> None: ...


class Validator(Protocol):
    """What the loop needs of `trainers.evaluation.validation.Validator`."""

    lr_factor: float
    """By which the plateaus so far have lowered the learning rate."""
    pending: bool
    """Whether a checkpoint was written before the validation of its step."""

    def due(self, run: "Run", step: int) -> bool: ...
    def __call__(self, run: "Run", step: int) -> dict[str, float]: ...
    def state_dict(self) -> dict[str, object]: ...
    def load_state_dict(self, state: dict[str, object]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Run:
    """The parts of a run, the same in training, in a dry run and in tests."""

    config: Config
    ranks: Ranks
    loader: Loader
    net: Pretext
    """The plain network, whose state is saved."""
    model: nn.Module
    """The same parameters behind DDP and torch.compile: what is called."""
    optimizer: Optimizer
    identity: Mapping[str, object]
    """What must not change between the parts of a run that was interrupted."""
    name_of: Callable[[int], str]
    """Dataset row -> the video's name."""
    loader_facts: Callable[[], Mapping[str, float]]
    """Figures of the loader for the log."""
    classes: tuple[str, ...] = ()
    """Names of a classifier's classes, in the order of its outputs."""
    validator: Validator | None = None
    """Measures the network between epochs, in finetuning."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Names of videos that could not be read on any rank, with the reason; as of the last checkpoint."""

    @property
    def total_steps(self) -> int:
        """Return the optimizer steps of the whole recipe; micro-steps go on over the ends of epochs."""
        return self.config.train.epochs * len(self.loader) // self.config.train.accumulate

    def epoch(self, step: int) -> int:
        """Return the epoch in which optimizer step `step` begins."""
        return step * self.config.train.accumulate // len(self.loader)

    def lr(self, step: int) -> float:
        """Return the learning rate of the optimizer step after `step` others."""
        config, epoch = self.config, self.epoch(step)
        return lr_at(
            config.schedule,
            config.optim.lr * (self.validator.lr_factor if self.validator else 1),
            step=step,
            epoch=epoch,
            total_steps=self.total_steps,
            epochs=config.train.epochs,
        )


def resume(run: Run, folder: Path, resume_from: str) -> int:
    """Restore the run from a checkpoint and return the optimizer steps done; see `checkpoint.find`."""
    found = run.ranks.on_rank0(lambda: checkpoint.find(folder, resume_from))
    if found is None:
        return 0
    for warning in identity.check(found, run.identity):
        if run.ranks.rank == 0:
            print(f"warning: {warning}", flush=True)
    try:
        run.net.load_state_dict(found["model"])
    except RuntimeError as error:
        changed = _changed_options(found["config"], dump(run.config)) or " ".join(str(error).split())
        raise UserError(
            f"the checkpoint of step {found['step']} is of another network: {changed}; "
            "set that back, or pass another --work-dir to start a new run"
        ) from error
    # Moments come from the checkpoint, hyper-parameters from the recipe: it may have changed on purpose.
    run.optimizer.load_state_dict(
        {"state": found["optimizer"]["state"], "param_groups": run.optimizer.state_dict()["param_groups"]}
    )
    run.loader.load_state_dict(found["loader"])
    if run.validator and found["validator"]:  # else the run has not validated so far
        run.validator.load_state_dict(found["validator"])
    run.unreadable.update(found.get("unreadable", {}))
    return int(found["step"])


def _changed_options(old: str, new: str) -> str:
    """Return where two dumped configs differ in data and head: "net.hidden was 512 and is 128"."""
    before, after = yaml.safe_load(old), yaml.safe_load(new)
    return ", ".join(
        f"{section}.{key} was {before[section].get(key)!r} and is {value!r}"
        for section in ("plan", "net")
        for key, value in after[section].items()
        if before[section].get(key) != value
    )


def content(run: Run) -> dict[str, Any]:
    """Return what a checkpoint says of the network: enough to use it, not to resume training."""
    return {
        "identity": dict(run.identity),
        "config": dump(run.config),
        "classes": list(run.classes),
        "model": run.net.state_dict(),
        "versions": {name: version(name) for name in ("clipfeed", "torch", "torchvision")},
    }


def save(run: Run, folder: Path, step: int) -> Path:
    """Write the checkpoint after `step` steps. UserError on all ranks when that fails."""
    for of_rank in run.ranks.gather_objects(run.loader.unreadable):
        run.unreadable.update(of_rank)
    state = {
        "loader": run.loader.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "validator": run.validator.state_dict() if run.validator else None,
        "unreadable": run.unreadable,
    }

    def write() -> Path:
        if run.unreadable:
            write_reasons(Path(run.config.work_dir, UNREADABLE_FILE), run.unreadable)
        return checkpoint.save(folder, step, content(run) | state, keep=run.config.train.keep)

    try:
        return run.ranks.on_rank0(write)
    except OSError as error:
        raise UserError(
            f"cannot write the checkpoint of step {step} to {folder}: {error}; "
            "the ones before it are intact: make room and start the same command again"
        ) from error
