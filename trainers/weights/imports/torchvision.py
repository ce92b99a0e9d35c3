"""torchvision's video ResNets, r3d_18 and r2plus1d_18, with their classifier of Kinetics-400 or without one."""

from collections.abc import Mapping

import torch
from torch import Tensor

from trainers.weights.imports import Imported, renamed, rules

CHANNELS = 512
"""Feature channels of both networks."""

TABLE = rules("""
    stem           -> backbone.stem
    layer{i:1-4}   -> backbone.layer{i}
    fc             -> linear
""")


def convert(state: Mapping[str, Tensor]) -> Imported:
    """Convert a state dict: see `trainers.weights.imports`."""
    model, used, left = renamed(state, TABLE)
    factorized = "layer1.0.conv1.0.0.weight" in state
    changes = ("backbone=torchvision_r2plus1d18",) if factorized else ()
    if "fc.weight" not in state:  # a backbone alone: a classifier of no classes
        model |= {"linear.weight": torch.empty(0, CHANNELS), "linear.bias": torch.empty(0)}
    return Imported("recognition/torchvision_r3d18_kinetics.yaml", model, used, left, changes)
