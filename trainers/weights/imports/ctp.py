"""Checkpoints of CtP's code: Catch-the-Patch, its baselines and their classifiers (specs/ctp.md 1 to 3).

The keys tell which model it is. 3D-RotNet, SpeedNet and all classifiers have the same ones: four classes are taken for
3D-RotNet, seven for SpeedNet. The original's HMDB51 classifiers that started from random weights have 101 outputs
(6.4.7), so they are imported as UCF101's.
"""

from collections.abc import Mapping

from torch import Tensor

from configs.errors import UserError
from trainers.weights.imports import Imported, renamed, rules

BACKBONE = """
    stem.conv -> stem.0
    stem.bn -> stem.1
    stem.conv_s -> stem.0
    stem.bn_s -> stem.1
    stem.conv_t -> stem.3
    stem.bn_t -> stem.4
    layer{i:1-4}.{j}.conv{k:12}.conv -> layer{i}.{j}.conv{k}.0
    layer{i:1-4}.{j}.conv{k:12}.conv_s -> layer{i}.{j}.conv{k}.0.0
    layer{i:1-4}.{j}.conv{k:12}.bn_s -> layer{i}.{j}.conv{k}.0.1
    layer{i:1-4}.{j}.conv{k:12}.conv_t -> layer{i}.{j}.conv{k}.0.3
    layer{i:1-4}.{j}.bn{k:12} -> layer{i}.{j}.conv{k}.1
    layer{i:1-4}.{j}.downsample.conv -> layer{i}.{j}.downsample.0
    layer{i:1-4}.{j}.downsample_bn -> layer{i}.{j}.downsample.1
"""
HEADS = {
    "ctp": """
        head.temporal_conv
        head.fc1 -> head.fc
        head.pred_head -> head.predict
    """,
    "moco": """
        fc -> head.layers
        key_fc -> key_head.layers
        queue
        queue_ptr -> oldest
    """,
    "memdpc": """
        mb -> memory.slots
        proj_head -> project
        agg_f.ConvGRUCell_00.{gate}_gate -> forward_gru.{gate}
        agg_b.ConvGRUCell_00.{gate}_gate -> backward_gru.{gate}
        agg_{way:fb}.cell_list.0 == agg_{way}.ConvGRUCell_00
        network_pred.{i:02} -> memory.choose.{i}
    """,
    "vcop": """
        vcop_head.fc1 -> compare
        vcop_head.fc2 -> classify
    """,
    "classifier": "cls_head.fc_cls -> linear",
}
SIGNS = {
    "head.pred_head.weight": "ctp",
    "queue": "moco",
    "mb": "memdpc",
    "vcop_head.fc2.weight": "vcop",
    "cls_head.fc_cls.weight": "classifier",
}
"""A key that only one model has -> the model."""

PRETEXT_CLASSES = {4: "rot3d", 7: "speednet"}
DATASETS = {51: "hmdb51", 174: "ssv1"}
"""Number of classes -> the dataset whose recipe is used; UCF101's for any other number."""


def convert(state: Mapping[str, Tensor]) -> Imported:
    """Convert a state dict: see `trainers.weights.imports`."""
    models = [model for sign, model in SIGNS.items() if sign in state]
    if len(models) != 1:
        raise UserError(f"not a checkpoint of CtP's code, which would have one of the keys {', '.join(SIGNS)}")
    table = rules(BACKBONE, "backbone.", "backbone.") + rules(HEADS[models[0]])
    if models[0] == "moco":
        table += rules(BACKBONE, "key_encoder.", "key_backbone.")
    model, used, left = renamed(state, table)
    if "queue" in model:
        model["queue"] = model["queue"].movedim(0, -1)  # a key is a column there and a row here
    if "oldest" in model:
        model["oldest"] = model["oldest"].squeeze()
    recipe, changes = _recipe(models[0], state)
    return Imported(recipe, model, used, left, changes)


def _recipe(model: str, state: Mapping[str, Tensor]) -> tuple[str, tuple[str, ...]]:
    """Return the recipe and the changes to it. Checkpoints of UCF101 and Kinetics cannot be told apart."""
    backbone = "r2plus1d18" if "backbone.stem.conv_s.weight" in state else "r3d18"
    changes: tuple[str, ...] = (f"backbone={backbone}",)
    if model == "ctp":
        return f"ctp/{backbone}_kinetics.yaml", ()
    if model == "moco":
        changes += (f"net.queue={state['queue'].shape[-1:].numel()}",)
    if model == "classifier":
        classes = state["cls_head.fc_cls.weight"].shape[:1].numel()
        if classes not in PRETEXT_CLASSES:
            dataset = DATASETS.get(classes, "ucf101")
            if dataset == "ssv1":
                return "recognition/ctp_r3d18_ssv1.yaml", changes
            return f"recognition/ctp_{backbone}_{dataset}.yaml", ()
        model = PRETEXT_CLASSES[classes]
    return f"{model}/r3d18_kinetics.yaml", changes
