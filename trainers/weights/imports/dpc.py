"""Checkpoints of DPC: pretraining on its 2D3D-ResNet-18 and -34 (specs/cpc_transformer.md 9).

Its batch norms keep no running statistics in pretraining, and most of its checkpoints have none. The import adds those
of a new network, mean 0 and variance 1, which nothing reads in train mode.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from configs.errors import UserError
from trainers.weights.imports import Imported, renamed, rules
from trainers.weights.imports.cstp import RESNET3D

TABLE = rules(RESNET3D, "backbone.", "backbone.") + rules("""
    agg.cell_list.0.{gate}_gate -> gru.{gate}
    agg.ConvGRUCell_00 == agg.cell_list.0
    network_pred.{i:02} -> predictor.{i}
""")


def convert(state: Mapping[str, Tensor]) -> Imported:
    """Copy all tensors unchanged, and add batch norm statistics if there are none.

    The recipe is the one for Kinetics, whose checkpoints cannot be told from UCF101's.
    """
    if "final_fc.1.weight" in state:
        raise UserError("this is DPC's classifier, which has no counterpart here: import the pretraining, and finetune")
    if "network_pred.0.weight" not in state or "backbone.layer1.0.conv1.weight" not in state:
        raise UserError(
            "the checkpoint lacks network_pred.0.weight or backbone.layer1.0.conv1.weight, as DPC's pretraining has: "
            "choose another --from"
        )
    if "backbone.layer1.0.conv3.weight" in state:
        raise UserError("a 2D3D-ResNet of bottlenecks has no counterpart here; there are r2d3d18 and r2d3d34")
    model, used, left = renamed(state, TABLE)
    if not any(key.endswith(".running_mean") for key in model):
        model |= new_statistics(model)
    layers = 34 if "backbone.layer1.2.conv1.weight" in state else 18
    return Imported(f"dpc/r2d3d{layers}_kinetics.yaml", model, used, left)


def new_statistics(model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the statistics of new batch norms, whose weights are the only ones with one axis."""
    found: dict[str, Tensor] = {}
    for key, weight in model.items():
        name = key.removesuffix(".weight")
        if name != key and weight.ndim == 1:
            found[f"{name}.running_mean"] = torch.zeros_like(weight)
            found[f"{name}.running_var"] = torch.ones_like(weight)
            found[f"{name}.num_batches_tracked"] = torch.tensor(0)
    return found
