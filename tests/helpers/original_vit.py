"""Blocks of a vision transformer with the keys of timm, VideoMAE and V-JEPA."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.originals import linear

State = Mapping[str, Tensor]


def norm_shapes(name: str, c: int) -> dict[str, list[int]]:
    return {f"{name}.weight": [c], f"{name}.bias": [c]}


def block_shapes(name: str, c: int, *, biases: Sequence[str]) -> dict[str, list[int]]:
    """Return key -> shape of a block; `biases` names its QKV biases: "qkv.bias", or separate ones such as "q_bias"."""
    return {
        **norm_shapes(f"{name}.norm1", c),
        **{f"{name}.attn.{bias}": [3 * c if bias == "qkv.bias" else c] for bias in biases},
        f"{name}.attn.qkv.weight": [3 * c, c],
        f"{name}.attn.proj.weight": [c, c],
        f"{name}.attn.proj.bias": [c],
        **norm_shapes(f"{name}.norm2", c),
        f"{name}.mlp.fc1.weight": [4 * c, c],
        f"{name}.mlp.fc1.bias": [4 * c],
        f"{name}.mlp.fc2.weight": [c, 4 * c],
        f"{name}.mlp.fc2.bias": [c],
    }


def normed(state: State, key: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{key}.weight"], state[f"{key}.bias"], eps=1e-6)


def block(state: State, key: str, x: Tensor, *, heads: int) -> Tensor:
    """Apply a pre-norm block; a missing bias of queries, keys or values is zero."""
    none = torch.zeros(x.shape[-1])
    parts = [state.get(f"{key}.attn.{name}_bias", none) for name in "qkv"]
    bias = state.get(f"{key}.attn.qkv.bias", torch.cat(parts))
    qkv = F.linear(normed(state, f"{key}.norm1", x), state[f"{key}.attn.qkv.weight"], bias)
    q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in qkv.chunk(3, dim=-1))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    x = x + linear(state, f"{key}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
    hidden = F.gelu(linear(state, f"{key}.mlp.fc1", normed(state, f"{key}.norm2", x)))
    return x + linear(state, f"{key}.mlp.fc2", hidden)
