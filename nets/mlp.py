"""The two-layer MLP of BYOL and of Concepts."""

from torch import nn


def mlp(in_features: int, hidden: int, out_features: int) -> nn.Sequential:
    """Build linear, batch norm, ReLU, linear: (N, in_features) -> (N, out_features)."""
    return nn.Sequential(
        nn.Linear(in_features, hidden), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True), nn.Linear(hidden, out_features)
    )
