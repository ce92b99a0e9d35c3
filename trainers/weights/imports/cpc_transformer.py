"""Checkpoints of CPC with a Transformer: pretraining and classifier, on its 2-D ResNet-18 (specs/cpc_transformer.md 3).

The original's layer norm divides by the unbiased standard deviation. With its weights multiplied by
sqrt((C - 1) / C), as here, the usual layer norm gives the same. The original adds 1e-6 to the deviation, ours to the
variance; for deviations near 1 both are negligible.
"""

import math
import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from configs.errors import UserError
from trainers.weights.imports import Imported, renamed, rules

LAYER = """
    self_attn.linears.{part:012}.{tensor} -> self_attn.in_proj_{tensor}.{part}
    self_attn.linears.3 -> self_attn.out_proj
    feed_forward.w_{i:12} -> linear{i}
    sublayer.0.norm.a_2 -> norm1.weight
    sublayer.0.norm.b_2 -> norm1.bias
    sublayer.1.norm.a_2 -> norm2.weight
    sublayer.1.norm.b_2 -> norm2.bias
"""
BACKBONE = """
    backbone.fc -- a classifier that the original never uses
    backbone.conv1 -> backbone.resnet.conv1
    backbone.bn1 -> backbone.resnet.bn1
    backbone.layer{i:1-4}.{j:01} -> backbone.resnet.layer{i}.{j}
    transEnc.transEncoder.norm.a_2 -> backbone.transformer.norm.weight
    transEnc.transEncoder.norm.b_2 -> backbone.transformer.norm.bias
    transEnc.attn -- the pattern that the Transformer's layers were copied from, never used
    transEnc.ff -- the pattern that the Transformer's layers were copied from, never used
    transEnc.position.pe -- a positional encoding that is never added
    agg.cell_list.0.{gate}_gate -> backbone.gru.{gate}
    agg.ConvGRUCell_00 == agg.cell_list.0
"""
SHARED = rules(BACKBONE) + rules(LAYER, "transEnc.transEncoder.layers.{n:01}.", "backbone.transformer.layers.{n}.")
PRETRAINING = SHARED + rules("network_pred.{i:02} -> predictor.{i}")
CLASSIFIER = SHARED + rules("""
    final_bn -> norm
    final_fc.1 -> linear
""")

LAYER_NORM = re.compile(r"backbone\.transformer\.(layers\.\d\.norm\d|norm)\.weight")
PART = re.compile(r"(?<=in_proj_)(weight|bias)\.\d")
"""Our name of a tensor that stacks queries, keys and values, with the number of the part."""

AS_TRAINED = ("net.reference.leak=true", "data.list=trainlist03.txt")
"""Settings that are fixed in the original. That list has all test videos of split 1 (specs/cpc_transformer.md 8)."""


def convert(state: Mapping[str, Tensor]) -> Imported:
    """Stack queries, keys and values, rescale layer norms as described above, and copy the rest unchanged.

    A classifier with 51 classes is assumed to be HMDB51's.
    """
    changes: tuple[str, ...] = ()
    if "final_fc.1.weight" in state:
        dataset = "hmdb51" if state["final_fc.1.weight"].shape[:1] == (51,) else "ucf101"
        table, recipe = CLASSIFIER, f"recognition/cpc_transformer_{dataset}.yaml"
    elif "network_pred.0.weight" in state:
        table, recipe, changes = PRETRAINING, "cpc_transformer/resnet18_5pred3_ucf101.yaml", AS_TRAINED
    else:
        raise UserError(
            "the checkpoint has neither network_pred.0.weight, as CPC's pretraining has, nor final_fc.1.weight, as its "
            "classifier has: choose another --from"
        )
    parts, used, left = renamed(state, table)
    tensors: dict[str, list[Tensor]] = {}
    for name in sorted(parts):  # queries before keys before values
        tensor, count = parts[name], parts[name].numel()
        if LAYER_NORM.fullmatch(name):
            tensor = tensor * math.sqrt((count - 1) / count)
        tensors.setdefault(PART.sub(r"\1", name), []).append(tensor)
    model = {ours: stacked(ours, group) for ours, group in tensors.items()}
    used = {theirs: PART.sub(r"\1", name) for theirs, name in used.items()}
    return Imported(recipe, model, used, left, changes)


def stacked(key: str, parts: Sequence[Tensor]) -> Tensor:
    """Stack queries, keys and values; return a single tensor as it is."""
    if len(parts) == 1:
        return parts[0]
    shapes = [tuple(part.shape) for part in parts]
    if len(set(shapes)) > 1:
        raise UserError(f"queries, keys and values make {key} here, and have the shapes {shapes}: the file is damaged")
    return torch.cat(list(parts))
