"""LARS: SGD with steps scaled to the norm of each weight tensor (You et al. 2017, "Large Batch Training")."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

TRUST = 0.001
"""Norm of a step at learning rate 1, as a share of the tensor's norm; as in the paper and in BYOL."""


class LARS(Optimizer):
    """SGD with momentum and layer-wise rates, as used by BYOL and MoCo v3.

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
                    scale = torch.where((size > 0) & (length > 0), TRUST * size / length, 1.0)  # an `if` would sync
                    update.mul_(scale)
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                velocity = state["momentum_buffer"].mul_(group["momentum"]).add_(update)
                weight.sub_(velocity * group["lr"])
        return loss
