"""A recurrent unit over feature maps, of MemDPC, DPC and CPC with a Transformer (specs/ctp.md 1.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvGRU(nn.Module):
    """One layer with 1x1 kernels: every place of the map is a GRU of its own, with shared weights.

    u = sigmoid(Wu[x, h]), r = sigmoid(Wr[x, h]), c = tanh(Wo[x, r h]), h' = (1 - u) h + u c, and dropout on h'.
    Weights start orthogonal with `gain`, biases at 0.
    """

    def __init__(self, channels: int, *, dropout: float = 0.1, gain: float = 1.0) -> None:
        super().__init__()
        self.dropout = dropout
        self.update, self.reset, self.out = (nn.Conv2d(2 * channels, channels, 1) for _ in range(3))
        for conv in (self.update, self.reset, self.out):
            nn.init.orthogonal_(conv.weight, gain)
            nn.init.zeros_(conv.bias)  # type: ignore[arg-type]

    def forward(self, x_BCHW: Tensor, state_BCHW: Tensor | None = None) -> Tensor:
        """One step: input and state -> state (B, C, H, W). The first state is zero."""
        state = torch.zeros_like(x_BCHW) if state_BCHW is None else state_BCHW
        both = torch.cat([x_BCHW, state], dim=1)
        update, reset = torch.sigmoid(self.update(both)), torch.sigmoid(self.reset(both))
        candidate = torch.tanh(self.out(torch.cat([x_BCHW, reset * state], dim=1)))
        return F.dropout(torch.lerp(state, candidate, update), self.dropout, self.training)

    def roll(self, x_BNCHW: Tensor) -> Tensor:
        """The state (B, C, H, W) after N inputs."""
        state = None
        for x_BCHW in x_BNCHW.unbind(1):
            state = self(x_BCHW, state)
        assert state is not None
        return state
