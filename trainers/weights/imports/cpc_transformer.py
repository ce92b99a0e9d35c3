"""Checkpoints of CPC with a Transformer: pretraining and classifier, on its 2-D ResNet-18 (specs/cpc_transformer.md 3).

The original's layer normalization divides by the unbiased deviation: its weights are multiplied by
sqrt((C - 1) / C), after which the usual one gives the same. It adds 1e-6 to the deviation where ours adds that to the
variance, which is as small beside deviations near 1.
"""

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from configs.errors import UserError
from trainers.weights.imports import Imported, Rule, renamed, second_names

UNITS = r"conv1|bn1|layer[1-4]\.[01]\.(?:conv|bn)[12]|layer[2-4]\.0\.downsample\.[01]"
THEIR_LAYER = r"transEnc\.transEncoder\.layers\.([01])"
OUR_LAYER = r"backbone.transformer.layers.\1"
UNBIASED = re.compile(r"transEnc\.transEncoder\..*\.a_2")
PART = re.compile(r"(?<=in_proj_)(weight|bias)\.\d")
"""Our name, with the number of the part, of a tensor that holds queries, keys and values."""

BACKBONE_RULES: tuple[Rule, ...] = (
    (rf"backbone\.((?:{UNITS})\.\w+)", r"backbone.resnet.\1", ""),
    (r"backbone\.fc\.\w+", None, "a classifier that the original never uses"),
    (rf"{THEIR_LAYER}\.self_attn\.linears\.([012])\.(\w+)", rf"{OUR_LAYER}.self_attn.in_proj_\3.\2", ""),
    (rf"{THEIR_LAYER}\.self_attn\.linears\.3\.(\w+)", rf"{OUR_LAYER}.self_attn.out_proj.\2", ""),
    (rf"{THEIR_LAYER}\.feed_forward\.w_([12])\.(\w+)", rf"{OUR_LAYER}.linear\2.\3", ""),
    (rf"{THEIR_LAYER}\.sublayer\.0\.norm\.a_2", rf"{OUR_LAYER}.norm1.weight", ""),
    (rf"{THEIR_LAYER}\.sublayer\.0\.norm\.b_2", rf"{OUR_LAYER}.norm1.bias", ""),
    (rf"{THEIR_LAYER}\.sublayer\.1\.norm\.a_2", rf"{OUR_LAYER}.norm2.weight", ""),
    (rf"{THEIR_LAYER}\.sublayer\.1\.norm\.b_2", rf"{OUR_LAYER}.norm2.bias", ""),
    (r"transEnc\.transEncoder\.norm\.a_2", "backbone.transformer.norm.weight", ""),
    (r"transEnc\.transEncoder\.norm\.b_2", "backbone.transformer.norm.bias", ""),
    (r"transEnc\.(?:attn|ff)\..+", None, "the pattern that the Transformer's layers were copied from, never used"),
    (r"transEnc\.position\.pe", None, "a positional encoding that is never added"),
    (r"agg\.cell_list\.0\.(update|reset|out)_gate\.(\w+)", r"backbone.gru.\1.\2", ""),
)
PRETRAINING: tuple[Rule, ...] = (*BACKBONE_RULES, (r"network_pred\.([02]\.\w+)", r"predictor.\1", ""))
CLASSIFIER: tuple[Rule, ...] = (
    *BACKBONE_RULES,
    (r"final_bn\.(\w+)", r"norm.\1", ""),
    (r"final_fc\.1\.(\w+)", r"linear.\1", ""),
)

AS_TRAINED = ("net.reference.leak=true", "data.list=trainlist03.txt")
"""What the original cannot do otherwise. That list has all test videos of split 1 (specs/cpc_transformer.md 8)."""


def convert(state: Mapping[str, Tensor]) -> Imported:
    """Queries, keys and values become one tensor, layer norms are folded as said above, the rest arrives as it is.

    A classifier of 51 classes is taken for HMDB51's. UserError for keys that no rule explains, for two names of one
    tensor with different values, and for a checkpoint of something else.
    """
    if "final_fc.1.weight" in state:
        hmdb51 = state["final_fc.1.weight"].shape[:1] == (51,)
        recipe = f"recognition/cpc_transformer_{'hmdb51' if hmdb51 else 'ucf101'}.yaml"
        return imported(state, CLASSIFIER, recipe)
    if "network_pred.0.weight" in state:
        return imported(state, PRETRAINING, "cpc_transformer/resnet18_5pred3_ucf101.yaml", *AS_TRAINED)
    raise UserError(
        "the checkpoint has neither network_pred.0.weight, as CPC's pretraining has, nor final_fc.1.weight, as its "
        "classifier has: choose another --from"
    )


def imported(state: Mapping[str, Tensor], rules: Sequence[Rule], recipe: str, *changes: str) -> Imported:
    """The state in our terms. The recurrent unit stands in it under two names."""
    twice = second_names(state, r"agg\.ConvGRUCell_00\.(.+)", r"agg.cell_list.0.\1")
    parts, left = renamed({key: tensor for key, tensor in state.items() if key not in twice}, rules)
    used = {theirs: PART.sub(r"\1", ours) for theirs, ours in parts.items()}
    tensors: dict[str, list[Tensor]] = {}
    for theirs in sorted(used, key=parts.__getitem__):  # queries before keys before values
        tensors.setdefault(used[theirs], []).append(folded(theirs, state[theirs]))
    model = {ours: joined(ours, group) for ours, group in tensors.items()}
    return Imported(recipe=recipe, model=model, used=used, left=left | twice, changes=changes)


def folded(key: str, tensor: Tensor) -> Tensor:
    """The weights of a layer norm for the biased deviation, and every other tensor as it is."""
    count = tensor.numel()
    return tensor * math.sqrt((count - 1) / count) if UNBIASED.fullmatch(key) else tensor


def joined(key: str, parts: Sequence[Tensor]) -> Tensor:
    """Queries, keys and values one below the other, and every other tensor as it is."""
    if len(parts) == 1:
        return parts[0]
    shapes = [tuple(part.shape) for part in parts]
    if len(set(shapes)) > 1:
        raise UserError(f"queries, keys and values make {key} here, and have the shapes {shapes}: the file is damaged")
    return torch.cat(list(parts))
