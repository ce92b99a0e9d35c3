"""Optimizers by name. To add one, write a function and enter it in `OPTIMIZERS`."""

from collections.abc import Callable
from itertools import groupby
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from configs.errors import UserError
from configs.plugins import look_up
from configs.schema import Optim
from nets.backbones import Backbone
from trainers.engine.lars import LARS

Groups = list[dict[str, Any]]
"""Parameter groups of `torch.optim`. One may have a `weight_decay` of its own."""


def sgd(groups: Groups, optim: Optim) -> Optimizer:
    return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay, fused=True)


def adam(groups: Groups, optim: Optim) -> Optimizer:
    betas = (optim.momentum, optim.beta2)
    return torch.optim.Adam(groups, lr=optim.lr, betas=betas, weight_decay=optim.weight_decay, fused=True)


def adamw(groups: Groups, optim: Optim) -> Optimizer:
    betas = (optim.momentum, optim.beta2)
    return torch.optim.AdamW(groups, lr=optim.lr, betas=betas, weight_decay=optim.weight_decay, fused=True)


def lars(groups: Groups, optim: Optim) -> Optimizer:
    return LARS(groups, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay)


OPTIMIZERS: dict[str, Callable[[Groups, Optim], Optimizer]] = {"sgd": sgd, "adam": adam, "adamw": adamw, "lars": lars}


def make_optimizer(net: nn.Module, optim: Optim) -> Optimizer:
    """Build the recipe's optimizer over all parameters that are trained.

    Each of its groups has one `lr_factor`, by which the loop multiplies the learning rate.

    Raises:
        UserError: an unknown optimizer, a part in `optim.lr_factors` that the network lacks, or an `optim.layer_decay`
            for a backbone without layers.
    """
    named = list(net.named_parameters())
    for part, _ in optim.lr_factors:
        if not any(name.startswith(f"{part}.") for name, _ in named):
            names = ", ".join(sorted({name.rpartition(".")[0].split(".")[0] for name, _ in named}))
            raise UserError(f"optim.lr_factors: the network has no part {part}; it has {names}, and parts of them")

    layer_shares = layer_decay(net, optim.layer_decay) if optim.layer_decay is not None else {}

    def options(item: tuple[str, nn.Parameter]) -> tuple[float, bool]:
        name, parameter = item
        factor = next((factor for part, factor in optim.lr_factors if name.startswith(f"{part}.")), 1.0)
        factor *= next((share for part, share in layer_shares.items() if f"{name}.".startswith(f"{part}.")), 1.0)
        return factor, optim.decay_norms_and_biases or parameter.ndim > 1

    # Only neighbors share a group: checkpoints count the parameters, and a change of options must not reorder them.
    groups: Groups = [
        {"params": [parameter for _, parameter in group], "lr_factor": factor}
        | ({} if decays else {"weight_decay": 0.0})
        for (factor, decays), group in groupby((item for item in named if item[1].requires_grad), options)
    ]
    return look_up(optim.name, OPTIMIZERS, key="optim.name")(groups, optim)


def layer_decay(net: nn.Module, decay: float) -> dict[str, float]:
    """Return each layer's share of the rate, by the names of its parts: decay ** n for the n-th layer from the top.

    What is in no layer, such as a final norm and the head, keeps the whole rate (BEiT, arXiv 2106.08254).

    Raises:
        UserError: the backbone has no layers.
    """
    backbone = getattr(net, "backbone", net)
    layers = backbone.layers() if isinstance(backbone, Backbone) else []
    if not layers:
        raise UserError(
            f"optim.layer_decay = {decay}: {type(backbone).__name__} does not say what its layers are; set it to null, "
            "use optim.lr_factors, or give the backbone a method layers()"
        )
    top = len(layers)
    return {f"backbone.{part}": decay ** (top - number) for number, layer in enumerate(layers) for part in layer}
