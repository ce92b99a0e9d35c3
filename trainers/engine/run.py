"""The parts of a run, and how it is saved and resumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import yaml
from torch import Tensor, nn
from torch.optim import Optimizer

from configs.errors import UserError
from configs.load import dump
from configs.schema import Config
from configs.words import counted
from dali_pipelines.datasets.fates import UNREADABLE_FILE, write_reasons
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.files import sync
from nets.tasks import Pretext
from trainers.engine import checkpoint, identity
from trainers.engine.distributed import Ranks
from trainers.engine.online import OnlineProbe
from trainers.engine.optimizers import moments, restore_moments
from trainers.engine.schedule import lr_at
from trainers.engine.work_dir import LOGS, is_lost, make_way, run_in

if TYPE_CHECKING:  # it imports this module
    from trainers.evaluation.validation import Validator

Batch = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Run:
    """The parts of a run."""

    config: Config
    ranks: Ranks
    loader: ClipLoader
    net: Pretext
    """The plain network, whose state is saved."""
    model: nn.Module
    """The same network wrapped in torch.compile and DDP, which is called."""
    optimizer: Optimizer
    identity: Mapping[str, object]
    """Facts that must not change when a run is resumed."""
    classes: tuple[str, ...] = ()
    """Names of a classifier's classes, in the order of its outputs."""
    id: str = ""
    """Identifies the run in its files, also after a resume; `resume` sets it."""
    online: OnlineProbe | None = None
    """Measures the features during training."""
    validator: "Validator | None" = None
    """Measures the network between epochs, in finetuning."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Name -> reason of videos that a rank could not read, as of the last checkpoint."""

    @cached_property
    def recipe(self) -> str:
        """Write the config as YAML; once, as every checkpoint has it."""
        return dump(self.config)

    @property
    def total_steps(self) -> int:
        """Return the number of optimizer steps of the recipe. A step's micro-steps may span two epochs."""
        return self.config.train.epochs * len(self.loader) // self.config.train.accumulate

    def epoch(self, step: int) -> int:
        """Return the epoch in which optimizer step `step` begins."""
        return step * self.config.train.accumulate // len(self.loader)

    def name_of(self, row: int) -> str:
        """Return the name of the video in a dataset row."""
        return self.loader.index.info(row).name

    def loader_facts(self) -> dict[str, float]:
        """Return the loader's statistics for the log."""
        counts, unreadable = self.loader.counts, self.unreadable | self.loader.unreadable
        return {
            "amplification": counts.amplification,
            "unreadable_videos": len(unreadable),
            "replaced_samples": counts.replaced,
        }

    def lr(self, step: int) -> float:
        """Return the learning rate of the optimizer step after `step` others."""
        config = self.config
        base = config.optim.lr * (self.validator.lr_factor if self.validator else 1)
        length = {"total_steps": self.total_steps, "epochs": config.train.epochs}
        return lr_at(config.schedule, base, step=step, epoch=self.epoch(step), **length)


def resume(run: Run, folder: Path, resume_from: str) -> tuple[Run, int, Path | None, list[str]]:
    """Restore the run from a checkpoint, or start a new one; see `checkpoint.find`. UserError if it does not fit.

    Returns:
        The run with its id, the optimizer steps done, the checkpoint resumed from (None for a new run), and notes for
        the user, one sentence each.
    """
    found = run.ranks.on_rank0(lambda: checkpoint.find(folder, resume_from))
    work_dir = folder.parent
    if found is None:
        run_id = run.ranks.on_rank0(lambda: uuid4().hex[:12])
        note = run.ranks.on_rank0(lambda: make_way(work_dir, run_id))
        return replace(run, id=run_id), 0, None, [note] * bool(note)
    step, run_id = int(found["step"]), found.get("run", "")
    source = checkpoint.path_of(folder, step) if resume_from == "auto" else Path(resume_from)
    if "optimizer" not in found:
        what = "was imported" if "imported" in found else "holds a network alone, as best.pt does"
        raise UserError(
            f"--resume {source}: it {what}, and no training can go on from it; give a step_*.pt, or start a new run "
            f"with clipfeed finetune --pretrained {source}"
        )
    if source.parent != folder and checkpoint.list_steps(folder) and run_in(work_dir) != run_id:
        raise UserError(
            f"--resume {source} is of another run than the checkpoints in {folder}; pass another --work-dir, or move "
            "those away"
        )
    notes = identity.check(found, run.identity)
    changed = identity.changed_options(found["config"], dump(run.config))
    try:
        run.net.load_state_dict(found["model"])
    except RuntimeError as error:
        shapes = ", ".join(change for change in changed if change.startswith(("plan.", "net.")))
        raise UserError(
            f"the checkpoint of step {step} is of another network: {shapes or ' '.join(str(error).split())}; set that "
            "back, or pass another --work-dir to start a new run"
        ) from error
    checkpoint.require_finite(found["model"], source)
    # Moments come from the checkpoint, hyperparameters from the recipe, which may have changed on purpose.
    restore_moments(run.optimizer, run.net, found["optimizer"]["state"])
    run.loader.load_state_dict(found["loader"])
    notes.append(run.ranks.on_rank0(lambda: make_way(work_dir, run_id)))
    if source.parent == folder:  # the save may have been killed before it had removed the older ones
        keep = int(yaml.safe_load(found["config"])["train"]["keep"])
        run.ranks.on_rank0(lambda: checkpoint.prune(folder, step, keep=keep))
    if run.validator and found["validator"]:  # else the run had no validation
        run.validator.load_state_dict(found["validator"])
        notes.append(run.validator.bring_best(source.parent, step))
    if run.online and found.get("online"):  # else the probe was off
        notes.append(run.online.load_state_dict(found["online"]))
    run.unreadable.update(found.get("unreadable", {}))
    run.loader.remember(run.unreadable)
    if run.unreadable:
        count = counted(len(run.unreadable), "video")
        notes.append(f"{count} found unreadable so far and still replaced, see {UNREADABLE_FILE}")
    if changed:
        notes.append(f"changed since step {step}: {', '.join(changed)}")
    return replace(run, id=run_id), step, source, [note for note in notes if note]


def content(run: Run) -> dict[str, Any]:
    """Return the part of a checkpoint that describes the network: enough to use it, not to resume training."""
    return {
        "run": run.id,
        "identity": dict(run.identity),
        "config": run.recipe,
        "classes": list(run.classes),
        "model": run.net.state_dict(),
        "versions": {name: identity.version(name) for name in ("clipfeed", "torch", "torchvision")},
    }


def save(run: Run, folder: Path, step: int, *, must: bool = True) -> Path | None:
    """Write the checkpoint after `step` steps; return its path.

    On failure, or if the work dir was moved or deleted, raise UserError on all ranks. With `train.full_disk: go_on` a
    failure returns None unless the checkpoint `must` be written.
    """
    for of_rank in run.ranks.gather_objects(run.loader.unreadable):
        run.unreadable.update(of_rank)
    state = {
        "loader": run.loader.state_dict(),
        # Without options such as the learning rate: a resumed run takes them from its recipe.
        "optimizer": {"state": moments(run.optimizer, run.net)},
        "validator": run.validator.state_dict() if run.validator else None,
        "online": run.online.state_dict() if run.online else None,
        "unreadable": run.unreadable,
    }

    def write() -> Path:
        work_dir = Path(run.config.work_dir)
        lost = is_lost(work_dir, run.id)
        work_dir.mkdir(parents=True, exist_ok=True)
        if run.unreadable:
            write_reasons(work_dir / UNREADABLE_FILE, run.unreadable)
        # If the machine crashes, the logs up to this checkpoint must survive with it: flush them first.
        for path in (work_dir, *(path for pattern in LOGS for path in work_dir.glob(pattern))):
            sync(path)
        saved = checkpoint.save(folder, step, content(run) | state, keep=run.config.train.keep)
        if lost:  # the log is still written to where the folder is now, and the lock is there
            raise UserError(
                f"{work_dir} was moved or deleted while the run trained in it: {saved} is all that is there now, and "
                "the same command goes on from it"
            )
        return saved

    try:
        return run.ranks.on_rank0(write)
    except OSError as error:
        failed = f"cannot write the checkpoint of step {step} to {folder}: {error}; the ones before it are intact"
        if not must and run.config.train.full_disk == "go_on":
            run.ranks.tell(f"warning: {failed}; training goes on")
            return None
        raise UserError(f"{failed}: make room and start the same command again") from error
