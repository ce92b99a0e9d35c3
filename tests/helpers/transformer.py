"""A vision transformer written out in NumPy, one token and one head at a time."""

import math

import numpy as np
from torch import Tensor

State = dict[str, np.ndarray]


def attention(x: np.ndarray, weights: State, heads: int) -> np.ndarray:
    q, k, v = np.split(x @ weights["in_proj_weight"].T + weights["in_proj_bias"], 3, axis=1)
    width = x.shape[1] // heads
    seen = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(width))
        seen.append(scores / scores.sum(1, keepdims=True) @ v[:, part])
    return np.concatenate(seen, 1) @ weights["out_proj.weight"].T + weights["out_proj.bias"]


def normed(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-6) * weight + bias


def block(x: np.ndarray, state: State, name: str, heads: int) -> np.ndarray:
    of = {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
    inner = {key.removeprefix("self_attention."): value for key, value in of.items()}
    x = x + attention(normed(x, of["ln_1.weight"], of["ln_1.bias"]), inner, heads)
    hidden = normed(x, of["ln_2.weight"], of["ln_2.bias"]) @ of["mlp.0.weight"].T + of["mlp.0.bias"]
    gelu = hidden * (1 + np.vectorize(math.erf)(hidden / math.sqrt(2))) / 2
    return x + gelu @ of["mlp.3.weight"].T + of["mlp.3.bias"]


def positions(tokens: list[int], width: int) -> np.ndarray:
    angles = [[token / 10000 ** (2 * (c // 2) / width) for c in range(width)] for token in tokens]
    return np.array([[math.cos(a) if c % 2 else math.sin(a) for c, a in enumerate(row)] for row in angles])


def embed(state: State, clip: Tensor, tokens: list[int]) -> np.ndarray:
    """Embed tokens of a clip of 32 x 32 pixels, in cubes of 2 x 8 x 8."""
    embedded = []
    for token in tokens:
        t, cell = divmod(token, 16)
        y, x = 8 * (cell // 4), 8 * (cell % 4)
        cube = clip[:, 2 * t : 2 * t + 2, y : y + 8, x : x + 8].double().numpy()
        kernel = state["backbone.patch_embed.weight"]
        embedded.append((kernel * cube).sum((1, 2, 3, 4)) + state["backbone.patch_embed.bias"])
    return np.array(embedded)
