"""Checkpoints of CSTP: pretraining and classifiers, on its five networks (specs/cstp.md 2).

In pretraining, `online_net` is our `backbone` and `projector`, and `target_net` the target of both. A classifier has
`online_net` alone. All tensors are copied unchanged.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from configs.errors import UserError
from configs.words import counted
from nets.tasks.cstp import CLASSES, OVERLAPS
from trainers.weights.imports import Imported, renamed, rules

R2PLUS1D10 = """
    conv1.spatial_conv -> stem.0
    conv1.bn -> stem.1
    conv1.temporal_conv -> stem.3
    bn1 -> stem.4
    conv{s}.block1.conv{k:12}.spatial_conv -> layer{s}.0.conv{k}.0.0
    conv{s}.block1.conv{k:12}.bn -> layer{s}.0.conv{k}.0.1
    conv{s}.block1.conv{k:12}.temporal_conv -> layer{s}.0.conv{k}.0.3
    conv{s}.block1.bn{k:12} -> layer{s}.0.conv{k}.1
    conv{s}.block1.downsampleconv.spatial_conv -> layer{s}.0.downsample.0
    conv{s}.block1.downsampleconv.bn -> layer{s}.0.downsample.1
    conv{s}.block1.downsampleconv.temporal_conv -> layer{s}.0.downsample.3
    conv{s}.block1.downsamplebn -> layer{s}.0.downsample.4
"""
C3D = """
    conv{n}+bn{n} -> features.{n}
"""
RESNET3D = """
    conv1+bn1 -> stem
    layer{i}.{j}.conv{k:12}+layer{i}.{j}.bn{k:12} -> layer{i}.{j}.conv{k}
    layer{i}.0.downsample
"""
S3DG = """
    Conv_1a.conv1+Conv_1a.bn1 -> features.0.0
    Conv_1a.conv2+Conv_1a.bn2 -> features.0.1
    Conv_2b.conv+Conv_2b.bn -> features.2
    Conv_2c.conv1+Conv_2c.bn1 -> features.3.0
    Conv_2c.conv2+Conv_2c.bn2 -> features.3.1
    Mixed_{m}.branch0.0.conv+Mixed_{m}.branch0.0.bn -> features.{m}.branch0
    Mixed_{m}.branch{b:12}.0.conv+Mixed_{m}.branch{b:12}.0.bn -> features.{m}.branch{b}.0
    Mixed_{m}.branch{b:12}.1.conv1+Mixed_{m}.branch{b:12}.1.bn1 -> features.{m}.branch{b}.1.0
    Mixed_{m}.branch{b:12}.1.conv2+Mixed_{m}.branch{b:12}.1.bn2 -> features.{m}.branch{b}.1.1
    Mixed_{m}.branch3.1.conv+Mixed_{m}.branch3.1.bn -> features.{m}.branch3.1
    Mixed_{m}.gating_b0.fc -> features.{m}.branch0.3.fc
    Mixed_{m}.gating_b{b:123}.fc -> features.{m}.branch{b}.2.fc
    block{second} == {second}
"""
I3D = """
    conv3d_1a_7x7.conv3d+conv3d_1a_7x7.batch3d -> features.0.1
    conv3d_2b_1x1.conv3d+conv3d_2b_1x1.batch3d -> features.2
    conv3d_2c_3x3.conv3d+conv3d_2c_3x3.batch3d -> features.3
    mixed_{m}.branch_0.conv3d+mixed_{m}.branch_0.batch3d -> features.{m}.branch0
    mixed_{m}.branch_{b:12}.{i:01}.conv3d+mixed_{m}.branch_{b:12}.{i:01}.batch3d -> features.{m}.branch{b}.{i}
    mixed_{m}.branch_3.1.conv3d+mixed_{m}.branch_3.1.batch3d -> features.{m}.branch3.1
"""
MIXED = {"3b": "5", "3c": "6", "4b": "8", "4c": "9", "4d": "10", "4e": "11", "4f": "12", "5b": "14", "5c": "15"}
"""Inception block -> its number in our `features`."""
PLACES: dict[str, dict[str, str]] = {
    "s": {"2": "1", "3": "2", "4": "3", "5": "4"},
    "n": {"1": "0", "2": "2", "3a": "4", "3b": "5", "4a": "7", "4b": "8", "5a": "10", "5b": "11"},
    "m": MIXED,
    "second": {"1.0": "Conv_1a", "2.1": "Conv_2b", "2.2": "Conv_2c"}
    | {f"{name[0]}.{'abcdef'.index(name[1])}": f"Mixed_{name}" for name in MIXED},
}
"""Placeholders of the tables: value in the original -> value here. S3D-G holds all modules a second time, in blocks."""

NETWORKS = {
    "online_net.conv1.spatial_conv.weight": ("r2plus1d10_cstp", R2PLUS1D10),
    "online_net.conv3a.weight": ("c3d", C3D),
    "online_net.layer1.0.conv1.weight": ("resnet3d18", RESNET3D),
    "online_net.Conv_1a.conv1.weight": ("s3dg", S3DG),
    "online_net.conv3d_1a_7x7.conv3d.weight": ("i3d", I3D),
}
"""A key that only one network has -> the network's name here, and its table."""
DEPTHS = {1: "resnet3d10", 2: "resnet3d18", 6: "resnet3d34"}
"""Number of blocks in the third stage -> the 3D-ResNet."""

AS_TRAINED = tuple(
    f"plan.reference.{flaw}=true" for flaw in ("truncate_offset", "rotated_boxes", "flip_last", "gray_per_frame")
)
"""Settings that are fixed in the original (specs/cstp.md 8.2). So is `same_start` for LMDBs, which no tensor shows."""

HEADS = rules("""
    online_net.project.net -> projector
    target_net.project.net -> target_projector
    predictor.net -> predictor
    overlap_spa -> spatial
    overlap_tem -> temporal
    pb_cls -> playback
    rot_cls -> rotation
    rotate_cls -> rotation
    classify -> linear
    cls_bn -> norm
    classify_bn -> norm
""")


def convert(state: Mapping[str, Tensor]) -> Imported:
    """Copy all tensors unchanged. The recipes are those for UCF101; HMDB51 for an R(2+1)D classifier of 51 classes."""
    backbone, table = network_of(state)
    networks = rules(table, "online_net.", "backbone.", **PLACES)
    networks += rules(table, "target_net.", "target_backbone.", **PLACES)
    model, used, left = renamed(state, networks + HEADS)
    changes = []
    if backbone == "resnet3d18" and (found := depth(state)) != backbone:
        changes.append(f"backbone={found}")
    if "linear.weight" in model:
        hmdb51 = backbone == "r2plus1d10_cstp" and model["linear.weight"].shape[:1] == (51,)
        recipe = f"recognition/cstp_{backbone.removesuffix('_cstp')}_{'hmdb51' if hmdb51 else 'ucf101'}.yaml"
    else:
        recipe = f"cstp/{backbone}_ucf101.yaml"
        changes += AS_TRAINED
        model["seen"] = torch.zeros(4, OVERLAPS)  # labels seen so far, which the original does not count
        if any(model[key].shape == (CLASSES + 1,) for key in ("playback.bias", "playback.3.bias") if key in model):
            changes.append("net.reference.spare_class=true")
    return Imported(recipe, model, used, left, changes)


def network_of(state: Mapping[str, Tensor]) -> tuple[str, str]:
    """Return the backbone of a checkpoint, as in the names of our recipes, and its table."""
    if not state.keys() & {"predictor.net.0.weight", "classify.weight"}:
        raise UserError(
            "the checkpoint has neither predictor.net.0.weight, as CSTP's pretraining has, nor classify.weight, as its "
            "classifiers have (but that of I3D, which has no counterpart here): choose another --from"
        )
    for key, (name, table) in NETWORKS.items():
        if key in state:
            return name, table
    raise UserError(f"the checkpoint is of none of CSTP's networks: it has none of {', '.join(NETWORKS)}")


def depth(state: Mapping[str, Tensor]) -> str:
    """Return the 3D-ResNet with as many blocks as the checkpoint."""
    blocks = {match[1] for key in state if (match := re.match(r"online_net\.layer3\.(\d+)\.", key))}
    if len(blocks) not in DEPTHS:
        count = counted(len(blocks), "block")
        raise UserError(f"a 3D-ResNet with {count} in its layer3; there are {', '.join(DEPTHS.values())}")
    return DEPTHS[len(blocks)]
