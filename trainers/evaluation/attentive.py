"""The attentive probe: one learned query attends to fixed feature maps, and a linear layer classifies the result.

Chen et al., "Context Autoencoder for Self-Supervised Representation Learning", arXiv 2202.03026, section 4; Bardes et
al., "Revisiting Feature Prediction for Learning Visual Representations from Video" (V-JEPA), arXiv 2404.08471. V-JEPA's
block also has an MLP, which this one lacks.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, layer_norm

from dali_pipelines.progress import bar
from trainers.evaluation.features import probe_by
from trainers.evaluation.linear import held_out_fifth

HEADS = 8
BATCH = 64
EPOCHS, MIN_STEPS = 20, 300
SETTINGS = tuple(product((1e-3, 3e-3), (0.01, 1.0)))
"""Learning rates and weight decays to choose from; ties go to the first."""


class AttentiveClassifier(nn.Module):
    """Cross-attention of one query to all tokens, LayerNorm, a linear layer.

    The query is the same for all videos, so its product with the key projection is learned as one vector per head,
    `query`. Tokens are averaged before the value projection, not after. Neither changes what
    `nn.MultiheadAttention` can compute, and both save nearly all of its time.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.heads = math.gcd(HEADS, channels)
        self.query = nn.Parameter(0.02 * torch.randn(self.heads, channels))  # attends almost evenly at first
        self.value = nn.Linear(channels, channels)
        self.projection = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.linear = nn.Linear(channels, classes)

    def attend(self, tokens_BPC: Tensor) -> Tensor:
        """Attend to tokens (B, P, C); return (B, C)."""
        weights_BHP = (tokens_BPC @ self.query.T).softmax(1).transpose(1, 2)
        seen_BHC = weights_BHP @ tokens_BPC
        weight_HDC = self.value.weight.unflatten(0, (self.heads, -1))
        values_BHD = torch.einsum("bhc,hdc->bhd", seen_BHC, weight_HDC) + self.value.bias.view(self.heads, -1)
        found_BC: Tensor = self.projection(values_BHD.flatten(1))
        return found_BC

    def forward(self, tokens_BPC: Tensor) -> Tensor:
        """Map tokens (B, P, C) to logits (B, classes)."""
        logits_BK: Tensor = self.linear(self.norm(self.attend(tokens_BPC)))
        return logits_BK


def fit(tokens: Tensor, labels: Tensor, *, classes: int) -> Callable[[Tensor], Tensor]:
    """Fit an attentive classifier on tokens that are standardized per channel, then layer-normalized.

    AdamW, cosine schedule. The learning rate and weight decay are the best of `SETTINGS` on a held-out random fifth of
    the samples; the first for a single sample. torch's global generator does not advance.

    `tokens` are float16 or float32 (N, P, C), `labels` int64 (N,) in [0, classes). The result is a function, on their
    device, from tokens (M, P', C) to predicted classes, int64 (M,).
    """
    mean, std = _moments(tokens)

    def standardized(raw: Tensor) -> Tensor:
        """Standardize tokens, in float16 since there may be many."""
        return torch.cat([layer_norm((part.float() - mean) / std, part.shape[2:]).half() for part in raw.split(BATCH)])

    inputs = standardized(tokens)

    def train(rows: Tensor, lr: float, weight_decay: float) -> Callable[[Tensor], Tensor]:
        order = torch.Generator().manual_seed(0)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            model = AttentiveClassifier(tokens.shape[2], classes)
        model.to(tokens.device)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
        per_epoch = math.ceil(len(rows) / BATCH)
        epochs = max(EPOCHS, math.ceil(MIN_STEPS / per_epoch))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * per_epoch)
        for _ in bar(range(epochs), desc=f"attentive probe, lr {lr:g}, weight decay {weight_decay:g}", leave=False):
            for batch in rows[torch.randperm(len(rows), generator=order)].split(BATCH):
                optimizer.zero_grad()
                cross_entropy(model(inputs[batch].float()), labels[batch]).backward()
                optimizer.step()
                schedule.step()

        @torch.no_grad()
        def classify(others: Tensor) -> Tensor:
            return torch.cat([model(part.float()).argmax(1) for part in others.split(BATCH)])

        return classify

    held_out = held_out_fifth(len(labels))
    every, rest, fifth = torch.arange(len(labels)), (~held_out).nonzero()[:, 0], held_out.nonzero()[:, 0]

    def score(setting: tuple[float, float]) -> float:
        return float((train(rest, *setting)(inputs[fifth]) == labels[fifth]).float().mean())

    classify = train(every, *(max(SETTINGS, key=score) if len(labels) > 1 else SETTINGS[0]))
    return lambda others: classify(standardized(others))


probe = partial(probe_by, fit)
"""Fit an attentive classifier on tokens of `extract_tokens`, and test it on others: see `probe_by`."""


def _moments(tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Compute each channel's mean and standard deviation, float32 (C,), batch by batch to save memory."""
    count = len(tokens) * tokens.shape[1]
    mean = sum(part.double().sum((0, 1)) for part in tokens.split(BATCH)) / count
    variance = sum((part.double() - mean).square().sum((0, 1)) for part in tokens.split(BATCH)) / count
    return mean.float(), variance.sqrt().clamp_min(1e-6).float()
