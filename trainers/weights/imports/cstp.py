"""Checkpoints of CSTP: pretraining and classifiers, on its five networks (specs/cstp.md 2).

Of the two networks of pretraining, `online_net` is our `backbone` and `projector`, `target_net` the target of both. A
classifier has the first alone. All tensors arrive as they are.
"""

import re
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from configs.errors import UserError
from nets.tasks.cstp import CLASSES, OVERLAPS
from trainers.weights.imports import Imported, Rule, renamed, second_names

Modules = list[tuple[str, str]]
"""An expression for their modules -> ours, with \\1 for its groups."""

MIXED = {"3b": 5, "3c": 6, "4b": 8, "4c": 9, "4d": 10, "4e": 11, "4f": 12, "5b": 14, "5c": 15}
"""Inception blocks, and their number in our `features`."""
SECOND_NAMES = {
    "block1.0": "Conv_1a",
    "block2.1": "Conv_2b",
    "block2.2": "Conv_2c",
    **{f"block{name[0]}.{'abcdef'.index(name[1])}": f"Mixed_{name}" for name in MIXED},
}
"""S3D-G holds each of its modules under two names; the pools have a number in the blocks, too."""


def r2plus1d10() -> Modules:
    modules = [(r"conv1\.spatial_conv", "stem.0"), (r"conv1\.bn", "stem.1"), (r"conv1\.temporal_conv", "stem.3")]
    modules += [("bn1", "stem.4")]
    for stage in range(1, 5):
        theirs, ours = rf"conv{stage + 1}\.block1", f"layer{stage}.0"
        modules += [
            (rf"{theirs}\.conv([12])\.spatial_conv", rf"{ours}.conv\1.0.0"),
            (rf"{theirs}\.conv([12])\.bn", rf"{ours}.conv\1.0.1"),
            (rf"{theirs}\.conv([12])\.temporal_conv", rf"{ours}.conv\1.0.3"),
            (rf"{theirs}\.bn([12])", rf"{ours}.conv\1.1"),
            (rf"{theirs}\.downsampleconv\.spatial_conv", f"{ours}.downsample.0"),
            (rf"{theirs}\.downsampleconv\.bn", f"{ours}.downsample.1"),
            (rf"{theirs}\.downsampleconv\.temporal_conv", f"{ours}.downsample.3"),
            (rf"{theirs}\.downsamplebn", f"{ours}.downsample.4"),
        ]
    return modules


def c3d() -> Modules:
    places = {"1": 0, "2": 2, "3a": 4, "3b": 5, "4a": 7, "4b": 8, "5a": 10, "5b": 11}
    return [unit for name, n in places.items() for unit in normed(f"conv{name}", f"bn{name}", f"features.{n}")]


def resnet3d() -> Modules:
    return [
        *normed("conv1", "bn1", "stem"),
        *normed(r"layer(\d)\.(\d+)\.conv([12])", r"layer(\d)\.(\d+)\.bn([12])", r"layer\1.\2.conv\3"),
        (r"layer(\d)\.0\.downsample\.([01])", r"layer\1.0.downsample.\2"),
    ]


def s3dg() -> Modules:
    def plain(theirs: str, ours: str) -> Modules:
        return normed(rf"{theirs}\.conv", rf"{theirs}\.bn", ours)

    def separable(theirs: str, ours: str) -> Modules:
        return [
            unit for n in (0, 1) for unit in normed(rf"{theirs}\.conv{n + 1}", rf"{theirs}\.bn{n + 1}", f"{ours}.{n}")
        ]

    modules = separable("Conv_1a", "features.0") + plain("Conv_2b", "features.2") + separable("Conv_2c", "features.3")
    for name, number in MIXED.items():
        theirs, ours = f"Mixed_{name}", f"features.{number}"
        modules += [
            *plain(rf"{theirs}\.branch0\.0", f"{ours}.branch0"),
            *plain(rf"{theirs}\.branch([12])\.0", rf"{ours}.branch\1.0"),
            *separable(rf"{theirs}\.branch([12])\.1", rf"{ours}.branch\1.1"),
            *plain(rf"{theirs}\.branch3\.1", f"{ours}.branch3.1"),
            (rf"{theirs}\.gating_b0\.fc", f"{ours}.branch0.3.fc"),
            (rf"{theirs}\.gating_b([123])\.fc", rf"{ours}.branch\1.2.fc"),
        ]
    return modules


def i3d() -> Modules:
    def plain(theirs: str, ours: str) -> Modules:
        return normed(rf"{theirs}\.conv3d", rf"{theirs}\.batch3d", ours)

    modules = plain("conv3d_1a_7x7", "features.0.1")
    modules += plain("conv3d_2b_1x1", "features.2") + plain("conv3d_2c_3x3", "features.3")
    for name, number in MIXED.items():
        theirs, ours = f"mixed_{name}", f"features.{number}"
        modules += plain(rf"{theirs}\.branch_0", f"{ours}.branch0")
        modules += plain(rf"{theirs}\.branch_([12])\.([01])", rf"{ours}.branch\1.\2")
        modules += plain(rf"{theirs}\.branch_3\.1", f"{ours}.branch3.1")
    return modules


def normed(convolution: str, norm: str, ours: str) -> Modules:
    """A convolution and its batch normalization, which are 0 and 1 of our module."""
    return [(convolution, f"{ours}.0"), (norm, f"{ours}.1")]


NETWORKS: dict[str, tuple[str, Callable[[], Modules]]] = {
    "online_net.conv1.spatial_conv.weight": ("r2plus1d10_cstp", r2plus1d10),
    "online_net.conv3a.weight": ("c3d", c3d),
    "online_net.layer1.0.conv1.weight": ("resnet3d18", resnet3d),
    "online_net.Conv_1a.conv1.weight": ("s3dg", s3dg),
    "online_net.conv3d_1a_7x7.conv3d.weight": ("i3d", i3d),
}
"""A key that no other network has -> our name, and the modules."""
DEPTHS = {1: "resnet3d10", 2: "resnet3d18", 6: "resnet3d34"}
"""Blocks of the third stage -> the 3D-ResNet."""

HEADS: tuple[Rule, ...] = (
    (r"online_net\.project\.net\.(\d\.\w+)", r"projector.\1", ""),
    (r"target_net\.project\.net\.(\d\.\w+)", r"target_projector.\1", ""),
    (r"predictor\.net\.(\d\.\w+)", r"predictor.\1", ""),
    (r"overlap_spa\.(.+)", r"spatial.\1", ""),
    (r"overlap_tem\.(.+)", r"temporal.\1", ""),
    (r"pb_cls\.(.+)", r"playback.\1", ""),
    (r"rot(?:ate)?_cls\.(.+)", r"rotation.\1", ""),
    (r"classify\.(\w+)", r"linear.\1", ""),
    (r"(?:cls|classify)_bn\.(\w+)", r"norm.\1", ""),
)


def convert(state: Mapping[str, Tensor]) -> Imported:
    """The recipes are those for UCF101, but HMDB51's for an R(2+1)D classifier of 51 classes.

    UserError for keys that no rule explains, for two names of a tensor that is not the same, and for a checkpoint of
    something else.
    """
    backbone, modules = network_of(state)
    twice: dict[str, str] = {}
    if backbone == "s3dg":
        for second, first in SECOND_NAMES.items():
            twice |= second_names(state, rf"(online|target)_net\.{re.escape(second)}\.(.+)", rf"\1_net.{first}.\2")
    networks = {"online_net": "backbone", "target_net": "target_backbone"}
    rules = [rule for theirs, ours in networks.items() for rule in backbone_rules(theirs, ours, modules)]
    used, left = renamed({key: tensor for key, tensor in state.items() if key not in twice}, [*rules, *HEADS])
    model = {ours: state[theirs] for theirs, ours in used.items()}
    changes = []
    if backbone == "resnet3d18" and (found := depth(state)) != backbone:
        changes.append(f"backbone={found}")
    if "linear.weight" in model:
        hmdb51 = backbone == "r2plus1d10_cstp" and model["linear.weight"].shape[:1] == (51,)
        recipe = f"recognition/cstp_{backbone.removesuffix('_cstp')}_{'hmdb51' if hmdb51 else 'ucf101'}.yaml"
    else:
        recipe = f"cstp/{backbone}_ucf101.yaml"
        model["seen"] = torch.zeros(4, OVERLAPS)  # what has come so far, which theirs does not count
        if any(model[key].shape == (CLASSES + 1,) for key in ("playback.bias", "playback.3.bias") if key in model):
            changes.append("net.reference.spare_class=true")
    return Imported(recipe=recipe, model=model, used=used, left=left | twice, changes=changes)


def network_of(state: Mapping[str, Tensor]) -> tuple[str, Modules]:
    """The backbone of a checkpoint, as in the names of our recipes, and its modules."""
    if not state.keys() & {"predictor.net.0.weight", "classify.weight"}:
        raise UserError(
            "the checkpoint has neither predictor.net.0.weight, as CSTP's pretraining has, nor classify.weight, as its "
            "classifiers have (but that of I3D, which has no counterpart here): choose another --from"
        )
    for key, (name, modules) in NETWORKS.items():
        if key in state:
            return name, modules()
    raise UserError(f"the checkpoint is of none of CSTP's networks: it has none of {', '.join(NETWORKS)}")


def depth(state: Mapping[str, Tensor]) -> str:
    """The 3D-ResNet that has as many blocks."""
    blocks = {match[1] for key in state if (match := re.match(r"online_net\.layer3\.(\d+)\.", key))}
    if len(blocks) not in DEPTHS:
        raise UserError(f"a 3D-ResNet with {len(blocks)} blocks in its layer3; there are {', '.join(DEPTHS.values())}")
    return DEPTHS[len(blocks)]


def backbone_rules(theirs: str, ours: str, modules: Modules) -> list[Rule]:
    return [(rf"{theirs}\.{module}\.(?P<tensor>\w+)", rf"{ours}.{here}.\g<tensor>", "") for module, here in modules]
