"""Checkpoints of CtP's code: Catch-the-Patch, its baselines and their classifiers (specs/ctp.md 1 to 3).

Which model it is follows from its keys. 3DRotNet, SpeedNet and all classifiers have the same ones: four classes count
as 3DRotNet's, seven as SpeedNet's. The original's own classifiers of HMDB51 that began from random weights have 101
outputs (6.4.7) and so come in as those of UCF101.
"""

from collections.abc import Mapping

from torch import Tensor

from configs.errors import UserError
from trainers.weights.imports import Imported, Rule, renamed, second_names

BLOCK = r"(layer[1-4]\.[0-9]+)"
BACKBONE: tuple[tuple[str, str], ...] = (
    (r"stem\.(?:conv|conv_s)\.(.*)", r"stem.0.\1"),
    (r"stem\.(?:bn|bn_s)\.(.*)", r"stem.1.\1"),
    (r"stem\.conv_t\.(.*)", r"stem.3.\1"),
    (r"stem\.bn_t\.(.*)", r"stem.4.\1"),
    (rf"{BLOCK}\.conv([12])\.conv\.(.*)", r"\1.conv\2.0.\3"),
    (rf"{BLOCK}\.conv([12])\.conv_s\.(.*)", r"\1.conv\2.0.0.\3"),
    (rf"{BLOCK}\.conv([12])\.bn_s\.(.*)", r"\1.conv\2.0.1.\3"),
    (rf"{BLOCK}\.conv([12])\.conv_t\.(.*)", r"\1.conv\2.0.3.\3"),
    (rf"{BLOCK}\.bn([12])\.(.*)", r"\1.conv\2.1.\3"),
    (rf"{BLOCK}\.downsample\.conv\.(.*)", r"\1.downsample.0.\2"),
    (rf"{BLOCK}\.downsample_bn\.(.*)", r"\1.downsample.1.\2"),
)


def backbone_rules(theirs: str, ours: str) -> list[Rule]:
    """The rules of a backbone that has the name `theirs` there and `ours` here."""
    return [(rf"{theirs}\.{pattern}", f"{ours}.{name}", "") for pattern, name in BACKBONE]


HEADS: dict[str, tuple[Rule, ...]] = {
    "ctp": (
        (r"head\.temporal_conv\.(.*)", r"head.temporal_conv.\1", ""),
        (r"head\.fc1\.(.*)", r"head.fc.\1", ""),
        (r"head\.pred_head\.(.*)", r"head.predict.\1", ""),
    ),
    "moco": (
        *backbone_rules("key_encoder", "key_backbone"),
        (r"fc\.(.*)", r"head.layers.\1", ""),
        (r"key_fc\.(.*)", r"key_head.layers.\1", ""),
        (r"queue", r"queue", ""),
        (r"queue_ptr", r"oldest", ""),
    ),
    "memdpc": (
        (r"mb", r"memory.slots", ""),
        (r"proj_head\.(.*)", r"project.\1", ""),
        (r"agg_f\.ConvGRUCell_00\.(reset|update|out)_gate\.(.*)", r"forward_gru.\1.\2", ""),
        (r"agg_b\.ConvGRUCell_00\.(reset|update|out)_gate\.(.*)", r"backward_gru.\1.\2", ""),
        (r"network_pred\.([02])\.(.*)", r"memory.choose.\1.\2", ""),
    ),
    "vcop": (
        (r"vcop_head\.fc1\.(.*)", r"compare.\1", ""),
        (r"vcop_head\.fc2\.(.*)", r"classify.\1", ""),
    ),
    "classifier": ((r"cls_head\.fc_cls\.(.*)", r"linear.\1", ""),),
}
SIGNS = {
    "head.pred_head.weight": "ctp",
    "queue": "moco",
    "mb": "memdpc",
    "vcop_head.fc2.weight": "vcop",
    "cls_head.fc_cls.weight": "classifier",
}
"""A key that one model alone has."""

PRETEXT_CLASSES = {4: "rot3d", 7: "speednet"}
DATASETS = {51: "hmdb51", 174: "ssv1"}
"""Number of classes -> the dataset whose recipe is taken; any other number takes UCF101's."""


def convert(state: Mapping[str, Tensor]) -> Imported:
    """See `trainers.weights.imports.Convert`."""
    models = [model for sign, model in SIGNS.items() if sign in state]
    if len(models) != 1:
        raise UserError(f"not a checkpoint of CtP's code, which would have one of the keys {', '.join(SIGNS)}")
    left = second_names(state, r"(agg_[fb])\.cell_list\.0\.(.*)", r"\1.ConvGRUCell_00.\2") if "mb" in state else {}
    rest = {key: tensor for key, tensor in state.items() if key not in left}
    used, _ = renamed(rest, [*backbone_rules("backbone", "backbone"), *HEADS[models[0]]])
    tensors = {ours: state[key] for key, ours in used.items()}
    if "queue" in tensors:
        tensors["queue"] = tensors["queue"].movedim(0, -1)  # a key is a column there and a row here
    if "oldest" in tensors:
        tensors["oldest"] = tensors["oldest"].squeeze()
    recipe, changes = _recipe(models[0], state)
    return Imported(recipe=recipe, model=tensors, used=used, left=left, changes=changes)


def _recipe(model: str, state: Mapping[str, Tensor]) -> tuple[str, tuple[str, ...]]:
    """The recipe, and what the shapes change of it. Nothing tells a checkpoint of UCF101 from one of Kinetics."""
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
