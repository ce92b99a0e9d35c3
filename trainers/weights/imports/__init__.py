"""Checkpoints of the published systems, one module each: `convert(state)` maps their keys to ours."""

import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from configs.errors import UserError
from configs.load import load
from configs.schema import Config
from dali_pipelines.tasks import Task
from nets import backbones
from nets.classifier import Classifier
from nets.tasks import Pretext, build_task

CONFIGS = Path(__file__).parents[3] / "configs"

Rule = tuple[str, str | None, str]
"""A regular expression for whole keys; our key, with \\1 for its groups, or None; the reason where it is None."""


@dataclass(frozen=True)
class Imported:
    """A checkpoint in our terms: with this recipe, `model` loads strictly."""

    recipe: str
    """Below configs/, such as "ctp/r3d18_kinetics.yaml"; for classifiers one of "recognition/"."""
    model: Mapping[str, Tensor]
    """The state of our network."""
    used: Mapping[str, str]
    """Their key -> ours."""
    left: Mapping[str, str]
    """Their key -> why it is not used."""
    changes: Sequence[str] = field(default_factory=tuple)
    """What this checkpoint changes of the recipe, as "net.concepts=100"."""

    @property
    def config(self) -> Config:
        """Load the recipe with the changes."""
        return load(CONFIGS / self.recipe, self.changes)


Convert = Callable[[Mapping[str, Tensor]], Imported]
"""Raises UserError for keys that no rule explains, and for a checkpoint of another system."""


def renamed(state: Mapping[str, Tensor], rules: Sequence[Rule]) -> tuple[dict[str, str], dict[str, str]]:
    """Split the keys into used ones, with ours for each, and unused ones, with the reason.

    The first rule whose expression matches a whole key decides. UserError for keys that no rule explains, and for two
    keys that come to the same one of ours.
    """
    used: dict[str, str] = {}
    left: dict[str, str] = {}
    unexplained = []
    for key in state:
        for pattern, ours, reason in rules:
            match = re.fullmatch(pattern, key)
            if match and ours is not None:
                used[key] = match.expand(ours)
                break
            if match:
                left[key] = reason
                break
        else:
            unexplained.append(key)
    if unexplained:
        names = ", ".join(unexplained[:3]) + (", ..." if len(unexplained) > 3 else "")
        raise UserError(f"{len(unexplained)} keys have no counterpart here: {names}; is --from the right system?")
    theirs_of: dict[str, str] = {}
    for theirs, ours in used.items():
        if ours in theirs_of:
            raise UserError(f"{theirs_of[ours]} and {theirs} are both {ours} here: not a checkpoint of this system")
        theirs_of[ours] = theirs
    return used, left


def second_names(state: Mapping[str, Tensor], second: str, first: str) -> dict[str, str]:
    """Find the keys that are another name of a tensor, with the reason to leave them.

    `second` is an expression for such keys, `first` the other name with \\1 for its groups. UserError where the two
    are not equal, or the first is missing.
    """
    left = {}
    for key in state:
        if match := re.fullmatch(second, key):
            other = match.expand(first)
            if other not in state or not state[key].equal(state[other]):
                what = "differs from" if other in state else "stands without"
                raise UserError(f"{key} is a second name of {other} and {what} it: the checkpoint is damaged")
            left[key] = f"second name of {other}, equal to it"
    return left


def network(imported: Imported) -> Pretext:
    """Build our network with the imported weights, in eval mode. UserError names a tensor that does not fit."""
    config, model = imported.config, imported.model
    net: Pretext
    if config.task == "recognition":
        if "linear.weight" not in model:
            raise UserError("the checkpoint has no linear layer")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a linear layer of no classes
            net = Classifier(backbones.create(config.backbone), model["linear.weight"].shape[:1].numel(), config.net)
    else:
        net = build_task(config.task, config.backbone, Task(config.task, config.plan).batch_schema, config.net)
    theirs = {ours: key for key, ours in imported.used.items()}
    wanted = net.state_dict()
    for key, tensor in wanted.items():
        if key not in model:
            raise UserError(f"the checkpoint lacks a tensor of shape {tuple(tensor.shape)}, {key} here")
        if model[key].shape != tensor.shape:
            shape, name = tuple(model[key].shape), theirs.get(key, key)
            raise UserError(f"{name} is of shape {shape}; {tuple(tensor.shape)} was expected for {key}")
    extra = sorted(model.keys() - wanted.keys())
    if extra:
        raise UserError(f"{theirs.get(extra[0], extra[0])} has no counterpart in our {config.backbone}")
    net.load_state_dict(imported.model)
    return net.eval()
