"""Checkpoints of the originals, with every key and shape but random values; and their most common layers."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

STATE_DICTS = Path(__file__).parent / "state_dicts"

State = Mapping[str, Tensor]


def shapes_of(name: str) -> dict[str, list[int]]:
    """Return key -> shape of an original's checkpoint, in its order."""
    return json.loads((STATE_DICTS / f"{name}.json").read_text())


def random_state(shapes: Mapping[str, Sequence[int]], seed: int = 0) -> dict[str, Tensor]:
    """Return random tensors of the magnitude of trained ones, so that activations keep their scale."""
    rng, state = torch.Generator().manual_seed(seed), {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            state[key] = torch.randint(1, 1000, (), generator=rng)
        elif key.endswith("running_var") or (len(shape) == 1 and key.endswith(("weight", "a_2"))):
            state[key] = 0.5 + torch.rand(shape, generator=rng)
        elif len(shape) == 1:
            state[key] = 0.1 * torch.randn(shape, generator=rng)
        else:
            state[key] = torch.randn(shape, generator=rng).mul_((2 / torch.Size(shape[1:]).numel()) ** 0.5)
    return state


def empty_state(name: str) -> dict[str, Tensor]:
    """Return a checkpoint of zeros with an original's keys and shapes; it takes no memory."""
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes_of(name).items()}


def state_like(name: str, seed: int = 0) -> dict[str, Tensor]:
    """Return a random checkpoint with an original's keys and shapes."""
    return random_state(shapes_of(name), seed)


def normed(state: State, key: str, x: Tensor, *, eps: float = 1e-5) -> Tensor:
    """Apply batch normalization in eval mode."""
    mean, var, weight, bias = (state[f"{key}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, mean, var, weight, bias, eps=eps)


def linear(state: State, key: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{key}.weight"], state[f"{key}.bias"])
