"""Optimizers by name. To add one, write a function and enter it in `OPTIMIZERS`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from configs.errors import UserError
from configs.optim import Optim
from configs.plugins import look_up, require_takes
from nets.backbones import Backbone

Groups = list[dict[str, Any]]
"""Parameter groups of `torch.optim`, which may have their own `weight_decay`."""


TRUST = 0.001
"""Norm of a step at learning rate 1, as a share of the tensor's norm; as in the paper and in BYOL."""


class LARS(Optimizer):
    """SGD with momentum and layer-wise rates (You et al. 2017, "Large Batch Training"), as used by BYOL and MoCo v3.

    For a tensor w of two or more axes with gradient g, the update is u = g + weight_decay * w, scaled to a norm of
    TRUST * |w|. Norms and biases, which have one axis, are not scaled. Then v = momentum * v + u and w -= lr * v.
    """

    def __init__(
        self, params: Iterable[Tensor] | Iterable[dict[str, Any]], *, lr: float, momentum: float, weight_decay: float
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                update = weight.grad.add(weight, alpha=group["weight_decay"])
                if weight.ndim > 1:
                    size, length = weight.norm(), update.norm()
                    scale = torch.where((size > 0) & (length > 0), TRUST * size / length, 1.0)  # an `if` would sync
                    update.mul_(scale)
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
                weight.sub_(velocity * group["lr"])


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


def find_optimizer(name: str) -> Callable[[Groups, Optim], Optimizer]:
    """Find the function that makes a recipe's optimizer; UserError for an unknown name, or other arguments."""
    make = look_up(name, OPTIMIZERS, key="optim.name", takes=("groups", "optim"))
    if str(getattr(make, "__module__", "")).startswith("torch."):
        raise UserError(
            f"optim.name: {name} does not read a recipe's optim section: write a function of (groups, optim) that "
            "calls it, as in docs/extending.md"
        )
    return make


def make_optimizer(net: nn.Module, optim: Optim) -> Optimizer:
    """Build the recipe's optimizer over all trainable parameters.

    Each group has one `lr_factor`, by which the loop multiplies the learning rate. There are as few groups as
    possible, since each is a separate kernel on a GPU. UserError if the optimizer is unknown or not of these groups,
    the network has nothing to train or lacks a part in `optim.lr_factors`, or `optim.layer_decay` is set for a backbone
    without layers.
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

    members: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for item in named:
        if item[1].requires_grad:
            members.setdefault(options(item), []).append(item[1])
    groups: Groups = [
        {"params": parameters, "lr_factor": factor} | ({} if decays else {"weight_decay": 0.0})
        for (factor, decays), parameters in members.items()
    ]
    if not groups:
        raise UserError("the network has no parameters to train")
    optimizer = find_optimizer(optim.name)(groups, optim)
    theirs = optimizer.param_groups if isinstance(optimizer, Optimizer) else []
    trained = sum(len(group["params"]) for group in theirs)
    if trained < sum(map(len, members.values())) or not all("lr_factor" in group for group in theirs):
        raise UserError(
            f"optim.name: {optim.name} returned {type(optimizer).__name__}; a torch.optim.Optimizer of all groups that "
            "it was given is needed, whose lr_factor the training loop reads"
        )
    require_takes(optimizer.step, "step", (), f"optim.name: step of {optim.name}")
    return optimizer


def moments(optimizer: Optimizer, net: nn.Module) -> dict[Any, Any]:
    """Return an optimizer's state by each parameter's position among the network's trainable ones.

    The optimizer's own numbering depends on its groups, and so on options that may change on resume.
    """
    places: dict[Any, int] = {parameter: place for place, parameter in enumerate(_trained(net))}
    return {places.get(key, key): values for key, values in optimizer.state.items()}


def restore_moments(optimizer: Optimizer, net: nn.Module, state: Mapping[Any, Any]) -> None:
    """Load the `moments` of a checkpoint into an optimizer, keeping its options.

    Each moment gets the memory order of its parameter, which `train.channels_last` may have changed since. Fused steps
    rely on it: with another order, a CPU silently takes the moments of other weights, and a GPU fails.
    """
    groups = optimizer.state_dict()["param_groups"]
    in_groups = (number for group in groups for number in group["params"])
    numbers = dict(zip((p for group in optimizer.param_groups for p in group["params"]), in_groups, strict=True))
    of_place = {place: numbers[parameter] for place, parameter in enumerate(_trained(net))}
    numbered = {of_place.get(key, key): value for key, value in state.items()}
    optimizer.load_state_dict({"state": numbered, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)


def _trained(net: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for parameter in net.parameters() if parameter.requires_grad)


def layer_decay(net: nn.Module, decay: float) -> dict[str, float]:
    """Return each layer's learning rate factor, by the names of its parts: decay ** n for the n-th from the top.

    Parameters outside the layers, such as a final norm and the head, keep the full rate (BEiT, arXiv 2106.08254).
    UserError if the backbone has no layers.
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
