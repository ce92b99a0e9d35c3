"""A linear classifier on fixed features, and how sure its accuracy is."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

PENALTIES = tuple(10.0**power for power in range(-5, 2))


def fit(x: Tensor, y: Tensor, *, classes: int) -> Callable[[Tensor], Tensor]:
    """Multinomial logistic regression on standardised features.

    The L2 penalty is the one, of `PENALTIES`, that does best on every fifth sample when fitted on the others.

    Args:
        x: float32 (N, C). y: int64 (N,) in [0, classes).

    Returns:
        A function from float32 (M, C) to predicted classes, int64 (M,).
    """
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / std
    held_out = torch.arange(len(y)) % 5 == 0

    def score(penalty: float) -> float:
        weight, bias = _minimise(x[~held_out], y[~held_out], classes, penalty)
        return float(((x[held_out] @ weight + bias).argmax(1) == y[held_out]).float().mean())

    weight, bias = _minimise(x, y, classes, max(PENALTIES, key=score))
    return lambda features: (((features - mean) / std) @ weight + bias).argmax(1)


def _minimise(x: Tensor, y: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weight (C, classes) and bias (classes,) with the least mean cross-entropy + penalty/2 |weight|^2."""
    weight = torch.zeros(x.shape[1], classes, requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(x @ weight + bias, y) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


def wilson(correct: int, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson's score)."""
    share, spread = correct / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    reach = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return middle - reach, middle + reach
