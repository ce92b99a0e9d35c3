"""torchvision's video ResNets, r3d_18 and r2plus1d_18, with their classifier of Kinetics-400 or without one."""

from collections.abc import Mapping

import torch
from torch import Tensor

from trainers.weights.imports import Imported, Rule, renamed

CHANNELS = 512
"""Of the features of both."""

RULES: tuple[Rule, ...] = (
    (r"(?:stem|layer[1-4])\..*", r"backbone.\g<0>", ""),
    (r"fc\.(weight|bias)", r"linear.\1", ""),
)


def convert(state: Mapping[str, Tensor]) -> Imported:
    """See `trainers.weights.imports.Convert`."""
    used, left = renamed(state, RULES)
    factorised = "layer1.0.conv1.0.0.weight" in state
    changes = ("backbone=torchvision_r2plus1d18",) if factorised else ()
    model = {ours: state[key] for key, ours in used.items()}
    if "fc.weight" not in state:  # a backbone alone: a classifier of no classes
        model |= {"linear.weight": torch.empty(0, CHANNELS), "linear.bias": torch.empty(0)}
    return Imported("recognition/torchvision_r3d18_kinetics.yaml", model, used, left, changes)
