"""Optimizers by name. To add one, write a function and enter it in `OPTIMIZERS`."""

from collections.abc import Callable, Iterable
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from configs.errors import UserError
from configs.plugins import look_up
from configs.schema import Optim
from nets.backbones import Backbone

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
    """Build the recipe's optimizer for all parameters that are trained.

    Each of its groups has an `lr_factor`, by which the loop multiplies the learning rate.

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

    # Only neighbors share a group: checkpoints number the parameters, and a change of options must not reorder them.
    groups: Groups = [
        {"params": [parameter for _, parameter in group], "lr_factor": factor}
        | ({} if decays else {"weight_decay": 0.0})
        for (factor, decays), group in groupby((item for item in named if item[1].requires_grad), options)
    ]
    return look_up(optim.name, OPTIMIZERS, key="optim.name")(groups, optim)


def layer_decay(net: nn.Module, decay: float) -> dict[str, float]:
    """Return each layer's share of the rate, by the names of its parts: decay ** n for the n-th layer from the top.

    Parameters in no layer, such as a final norm and the head, keep the full rate (BEiT, arXiv 2106.08254).

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


TRUST = 0.001
"""Share of a tensor's norm that one step at learning rate 1 changes; that of the paper and of BYOL."""


class LARS(Optimizer):
    """SGD with momentum and layer-wise rates, as used by BYOL and MoCo v3 (You et al. 2017, "Large Batch Training").

    For a tensor w of two or more axes with gradient g, the update is u = g + weight_decay * w, scaled to a norm of
    TRUST * |w|. Norms and biases, which have one axis, are not scaled. Then v = momentum * v + u and w -= lr * v.
    """

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        loss = closure() if closure else None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = weight.grad.add(weight, alpha=group["weight_decay"])
                if weight.ndim > 1:
                    size, length = weight.norm(), update.norm()
                    scale = torch.where((size > 0) & (length > 0), TRUST * size / length, 1.0)  # an `if` would wait
                    update.mul_(scale)
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
                weight.sub_(velocity * group["lr"])
        return loss
