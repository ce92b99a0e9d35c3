"""Trained weights of a run, an import or an export."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from configs.errors import UserError
from configs.load import parse
from configs.plugins import require_trusted
from configs.schema import Config, Recognition
from dali_pipelines.tasks import Task, task_module
from dali_pipelines.tasks.recognition import Config as Clips
from dali_pipelines.tasks.recognition import Test
from nets.backbones import Backbone, create
from trainers.engine import checkpoint
from trainers.engine.work_dir import CHECKPOINTS

BACKBONE = "backbone."
CLIP = ("num_frames", "strides", "size", "normalization")
TENSORS = "model.safetensors"
"""The file with the tensors of an export that is a folder."""


@dataclass(frozen=True, eq=False)
class Weights:
    """A trained network."""

    path: Path
    """The file that the weights were read from."""
    backbone: str
    """The backbone's name, as `create_backbone` takes it."""
    model: Mapping[str, Tensor] = field(repr=False)
    """State dict of the whole network; the backbone's keys begin with "backbone."."""
    config: Config | None
    """The recipe that it was trained with; None for an export, which holds only a backbone."""
    step: int = 0
    """Optimizer steps of its training; 0 if unknown."""
    clip: Mapping[str, Any] = field(default_factory=dict)
    """What it was trained on: num_frames, strides, size, normalization."""
    classes: tuple[str, ...] = ()
    """Names of a classifier's classes, in order; empty if unknown."""
    run: str = ""
    """The id of the run that wrote them; "" if unknown."""
    origin: str = ""
    """The system whose checkpoint they were imported from, such as "ctp"; "" if from a run."""
    sha256: str = ""
    """Of the file as it was read: a training run may replace or remove it before a result names it."""

    def __post_init__(self) -> None:
        checkpoint.require_finite(self.model, self.path)

    def views(self) -> Clips:
        """Return the views of whole videos that match the training; for a classifier, those of its recipe.

        The stride is the training stride nearest to 2. The short side is 8/7 of the crop's: 128 pixels for 112.
        """
        if isinstance(self.config, Recognition):
            own: Clips = self.config.plan
            return own
        size = self.clip["size"]
        return Clips(
            num_frames=self.clip["num_frames"],
            stride=min(self.clip["strides"], key=lambda stride: abs(stride - Clips.stride)),
            size=size,
            normalization=self.clip["normalization"],
            test=Test(short_side=round(size * 8 / 7)),
        )

    @property
    def facts(self) -> dict[str, object]:
        """Return what a result records about the weights behind it."""
        return {"checkpoint": str(self.path), "sha256": self.sha256, "backbone": self.backbone, "step": self.step}

    def frozen_backbone(self) -> Backbone:
        """Create the backbone with its weights, in eval mode. UserError if it has no batch norm statistics."""
        self.require_statistics()
        backbone = create(self.backbone)
        self.load_backbone(backbone, self.backbone)
        return backbone.eval()

    def load_backbone(self, backbone: nn.Module, name: str) -> None:
        """Load the backbone's weights into `backbone`, a network of type `name`. UserError if they do not fit."""
        state = {key.removeprefix(BACKBONE): v for key, v in self.model.items() if key.startswith(BACKBONE)}
        load(backbone, state, f"the {self.backbone} of {self.path}", f"the recipe's {name}")

    def require_statistics(self) -> None:
        """Raise UserError if an import has no batch norm statistics, which eval mode needs."""
        means = [tensor for key, tensor in self.model.items() if key.endswith("running_mean")]
        if self.origin and means and not any(mean.any() for mean in means):
            raise UserError(
                f"{self.path} has no batch norm statistics, since the imported checkpoint had none, and features need "
                "them: finetune it first, with clipfeed finetune --mode full"
            )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(module: nn.Module, state: Mapping[str, Tensor], theirs: str, ours: str) -> None:
    """Load a state dict strictly. UserError names the first tensor that does not fit, with both shapes."""
    wanted = module.state_dict()
    for key in [*wanted, *state]:
        here, there = (f"has {key} {tuple(s[key].shape)}" if key in s else f"has no {key}" for s in (wanted, state))
        if here != there:
            raise UserError(f"{theirs} does not fit {ours}: it {there}, {ours} {here}; choose the backbone that it has")
    module.load_state_dict(state)


def facts_path(tensors: Path) -> Path:
    """Return the path of the .json with an export's facts."""
    return tensors.with_name("config.json") if tensors.name == TENSORS else tensors.with_suffix(".json")


def read(where: str | Path) -> Weights:
    """Read the weights of a run, of a checkpoint, or of an export.

    Args:
        where: a run's work dir, for its newest checkpoint; a .pt file; or an export's .safetensors or folder.

    Raises:
        UserError: the file is missing, damaged, or of another kind, or its weights contain nan or infinity.
    """
    path = Path(where)
    if (path / TENSORS).is_file() and not (path / CHECKPOINTS).is_dir():
        path /= TENSORS
    if path.suffix == ".safetensors":
        return _exported(path)
    if path.is_dir():
        found = checkpoint.find(path / CHECKPOINTS, "auto")
        if found is None:
            raise UserError(f"{path} holds no checkpoint; give the work dir of a run, or a checkpoint's file or export")
        content, path = found, checkpoint.path_of(path / CHECKPOINTS, found["step"])
    else:
        content = checkpoint.read(path)
    config = parse(content["config"], source=f"{path}'s config", own=False)
    return Weights(
        path=path,
        backbone=config.backbone,
        model=checkpoint.plain(content["model"], path),
        config=config,
        step=content.get("step", 0),
        clip=clip_facts(config),
        classes=tuple(content.get("classes", ())),
        run=content.get("run", ""),
        origin=content.get("imported", {}).get("from", ""),
        sha256=sha256_of(path),
    )


def clip_facts(config: Config) -> dict[str, Any]:
    """Describe the clips of a recipe: number of frames, frame steps, side in pixels, normalization.

    The steps are `plan.strides`, `plan.stride`, the task module's STRIDES, or 1, whichever exists first.
    """
    task = Task(config.task, config.plan)
    *_, num_frames, _, size = task.batch_schema["clips"][0]
    fixed = getattr(task_module(config.task), "STRIDES", (1,))
    one = getattr(config.plan, "stride", None)
    strides = getattr(config.plan, "strides", None) or ([one] if one else fixed)
    return dict(zip(CLIP, (num_frames, list(strides), size, task.program.normalization), strict=True))


def _exported(path: Path) -> Weights:
    facts_file = facts_path(path)
    try:
        written = sha256_of(path)
        facts = json.loads(facts_file.read_text(encoding="utf-8"))
        name, step, clip = facts["architecture"], facts["step"], {key: facts[key] for key in CLIP}
        require_trusted(name, source=str(facts_file))
        if facts["tensors_sha256"] != written:
            raise ValueError("they are of two exports, or one of them has changed")
        state = load_file(path)
    except FileNotFoundError as error:
        raise UserError(
            f"no such file: {error.filename}; an export is a .safetensors with a .json; {checkpoint.IMPORT}"
        ) from None
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} and {facts_file.name} are damaged or no export ({error}); export again; {checkpoint.IMPORT}"
        ) from None
    model = {f"{BACKBONE}{key}": value for key, value in state.items()}
    return Weights(path=path, backbone=name, model=model, config=None, step=step, clip=clip, sha256=written)


def classifier_weights(weights: Weights) -> Recognition:
    """Return the recipe of a classifier's weights; UserError if they are not a classifier's."""
    if not isinstance(weights.config, Recognition):
        what = f"of the task {weights.config.task}" if weights.config else "an exported backbone"
        raise UserError(f"{weights.path} is {what} and has no classifier: finetune it with clipfeed finetune first")
    if not len(weights.model["linear.bias"]):
        raise UserError(f"{weights.path} is a backbone alone: finetune it with clipfeed finetune first")
    return weights.config
