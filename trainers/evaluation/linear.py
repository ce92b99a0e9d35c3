"""A linear classifier on fixed features, and how sure its accuracy is."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from trainers.evaluation.features import Features

PENALTIES = tuple(10.0**power for power in range(-5, 2))


def fit(x: Tensor, y: Tensor, *, classes: int) -> Callable[[Tensor], Tensor]:
    """Multinomial logistic regression on standardized features.

    The L2 penalty, of `PENALTIES`, is the one that does best on a random fifth of the samples, fitted on the others.

    Args:
        x: float32 (N, C). y: int64 (N,) in [0, classes).

    Returns:
        A function, on the device of `x`, from float32 (M, C) to predicted classes, int64 (M,).
    """
    mean, std = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / std
    held_out = (torch.randperm(len(y), generator=torch.Generator().manual_seed(0)) % 5 == 0).to(x.device)

    def score(penalty: float) -> float:
        weight, bias = _minimize(x[~held_out], y[~held_out], classes, penalty)
        return float(((x[held_out] @ weight + bias).argmax(1) == y[held_out]).float().mean())

    weight, bias = _minimize(x, y, classes, max(PENALTIES, key=score))
    return lambda features: (((features - mean) / std) @ weight + bias).argmax(1)


def probe(known: Features, asked: Features, *, classes: int, device: torch.device) -> dict[str, Any]:
    """`top1` on the videos `asked` of a classifier fitted on the `known` ones, and its 95 % `interval`.

    A video that could not be read counts as wrong.
    """
    x, y, new = (
        torch.from_numpy(values).to(device)
        for values in (known.values[known.known], known.labels[known.known], asked.values[asked.known])
    )
    guessed = fit(x, y, classes=classes)(new).cpu().numpy()
    correct, total = int((guessed == asked.labels[asked.known]).sum()), len(asked.names)
    return {"top1": correct / total, "interval": wilson(correct, total)}


def _minimize(x: Tensor, y: Tensor, classes: int, penalty: float) -> tuple[Tensor, Tensor]:
    """Weight (C, classes) and bias (classes,) with the least mean cross-entropy + penalty/2 |weight|^2."""
    weight = x.new_zeros(x.shape[1], classes, requires_grad=True)
    bias = x.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = cross_entropy(x @ weight + bias, y) + penalty / 2 * weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), bias.detach()


def wilson(correct: float, total: int, z: float = 1.96) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson's score)."""
    share, spread = correct / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    reach = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return middle - reach, middle + reach
