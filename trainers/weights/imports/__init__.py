"""Checkpoints of the published systems, one module each: `convert(state)` maps their keys to ours.

It raises UserError for keys that no rule matches, and for a checkpoint of another system.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from configs.errors import UserError, first_names
from configs.load import load
from configs.recipes import CONFIGS
from configs.schema import Config
from configs.words import counted
from nets.tasks import Pretext
from trainers.engine.build import build_net


@dataclass(frozen=True, eq=False)
class Imported:
    """A converted checkpoint, whose `model` loads strictly into its recipe's network."""

    recipe: str
    """Relative to configs/, such as "ctp/r3d18_kinetics.yaml"; for classifiers in "recognition/"."""
    model: Mapping[str, Tensor]
    """The state dict of our network."""
    used: Mapping[str, str]
    """Their key -> ours."""
    left: Mapping[str, str]
    """Their key -> why it is not used."""
    changes: Sequence[str] = ()
    """Changes to the recipe for this checkpoint, such as "net.concepts=100"."""

    @property
    def config(self) -> Config:
        """Load the recipe with the changes."""
        return load(CONFIGS / self.recipe, self.changes)


Rule = tuple[re.Pattern[str], str, str]
"""A pattern of whole keys; "->", "==" or "--"; our key, their first name, or why it is left out: see `rules`."""

PLACEHOLDER = re.compile(r"\{(\w+)(?::([^}]+))?\}")


def rules(table: str, theirs: str = "", ours: str = "", **names: Mapping[str, str]) -> list[Rule]:
    """Parse a table of names of modules or tensors, one per line. A line covers all names below its own.

        conv{n}.bn -> layer{n}.1     is called layer{n}.1 here
        stem                         is called stem here, too
        conv+bn -> stem              are called stem.0 and stem.1 here
        block1 == stem               is a second name of their stem, and must be equal to it
        fc -- never used             is left out, for this reason

    {n} stands for letters and digits, {n:12} for one of [12].

    Args:
        theirs, ours: prefix of all names there and here, such as "online_net.".
        names: values of {n} on the left, and those on the right that they map to: n={"2": "1", "3": "2"}.
    """
    found = []
    for line in table.strip().splitlines():
        left, kind, right = [*line.split(maxsplit=2), "->", line.strip()][:3]
        variants = [(left, right)]
        for key, values in names.items():
            if (mark := f"{{{key}}}") in left:
                variants = [(left.replace(mark, there), right.replace(mark, here)) for there, here in values.items()]
        prefix = {"->": ours, "==": theirs, "--": ""}[kind]
        for left, right in variants:
            modules = left.split("+")
            for number, name in enumerate(modules):
                pattern = PLACEHOLDER.sub(_group, (theirs + name).replace(".", r"\."))
                suffix = f".{number}" * (len(modules) > 1)
                found.append((re.compile(rf"{pattern}(?P<below>(?:\..+)?)"), kind, prefix + right + suffix))
    return found


def _group(placeholder: re.Match[str]) -> str:
    name, letters = placeholder.groups()
    return rf"(?P<{name}>[{letters}])" if letters else rf"(?P<{name}>\w+)"


def renamed(
    state: Mapping[str, Tensor], table: Sequence[Rule]
) -> tuple[dict[str, Tensor], dict[str, str], dict[str, str]]:
    """Rename tensors by the first rule that matches their key; return `model`, `used` and `left` of an `Imported`.

    UserError if no rule matches a key, if two keys map to the same one of ours, or if a second name of a tensor comes
    without the first or differs from it.
    """
    used: dict[str, str] = {}
    left: dict[str, str] = {}
    unexplained = []
    for key in state:
        for pattern, kind, right in table:
            if match := pattern.fullmatch(key):
                name = match.expand(PLACEHOLDER.sub(r"\\g<\1>", right) + r"\g<below>")
                if kind == "->":
                    used[key] = name
                else:
                    left[key] = right if kind == "--" else _second_name(state, key, name)
                break
        else:
            unexplained.append(key)
    if unexplained:
        count = counted(len(unexplained), "key")
        raise UserError(f"no counterpart here for {count}: {first_names(unexplained)}; is --from the right system?")
    theirs_of: dict[str, str] = {}
    for theirs, ours in used.items():
        if theirs_of.setdefault(ours, theirs) != theirs:
            raise UserError(f"{theirs_of[ours]} and {theirs} are both {ours} here: not a checkpoint of this system")
    return {ours: state[theirs] for theirs, ours in used.items()}, used, left


def _second_name(state: Mapping[str, Tensor], key: str, first: str) -> str:
    """Return the reason to leave out a key that is another name of `first`."""
    if first not in state or not state[key].equal(state[first]):
        what = "differs from" if first in state else "stands without"
        raise UserError(f"{key} is a second name of {first} and {what} it: the checkpoint is damaged")
    return f"second name of {first}, equal to it"


def network(imported: Imported) -> Pretext:
    """Build our network with the imported weights, in eval mode. UserError names a tensor that does not fit."""
    config, model, classes = imported.config, imported.model, 0
    if config.task == "recognition":
        if "linear.weight" not in model:
            raise UserError("the checkpoint has no linear layer")
        classes = model["linear.weight"].shape[:1].numel()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a linear layer without classes
        net = build_net(config, classes)
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
    for key, tensor in model.items():
        has_data = not tensor.is_meta or wanted[key].is_meta
        dense_float = tensor.is_floating_point() and tensor.layout == torch.strided and has_data
        if wanted[key].is_floating_point() and not dense_float:
            what = f"{tensor.dtype}, {tensor.layout}, on {tensor.device}"
            raise UserError(f"{theirs.get(key, key)} holds no dense floats ({what}): save it as such")
    net.load_state_dict(model)
    return net.eval()
