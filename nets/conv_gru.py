"""A GRU over feature maps, of MemDPC, DPC and CPC with a Transformer (specs/ctp.md 1.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nets.init import init_orthogonal


class ConvGRU(nn.Module):
    """One layer with 1x1 kernels: each position of the map is its own GRU, with shared weights.

    u = sigmoid(Wu[x, h]), r = sigmoid(Wr[x, h]), c = tanh(Wo[x, r h]), h' = (1 - u) h + u c, and dropout on h'.
    Weights start orthogonal with `gain`, biases at 0.
    """

    def __init__(self, channels: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.update, self.reset, self.out = (nn.Conv2d(2 * channels, channels, 1) for _ in range(3))
        init_orthogonal(self, gain)

    def forward(self, x_BCHW: Tensor, state_BCHW: Tensor) -> Tensor:
        """Return the next state (B, C, H, W)."""
        x_and_state = torch.cat([x_BCHW, state_BCHW], dim=1)
        update, reset = torch.sigmoid(self.update(x_and_state)), torch.sigmoid(self.reset(x_and_state))
        candidate = torch.tanh(self.out(torch.cat([x_BCHW, reset * state_BCHW], dim=1)))
        # Of one dtype: under autocast the convolutions give bfloat16, while the state after a layer norm is float32.
        mixed = torch.lerp(state_BCHW, candidate.to(state_BCHW), update.to(state_BCHW))
        return F.dropout(mixed, 0.1, self.training)

    def final_state(self, x_BNCHW: Tensor) -> Tensor:
        """Return the state (B, C, H, W) after N inputs; the initial state is zero."""
        state_BCHW = torch.zeros_like(x_BNCHW[:, 0])
        for x_BCHW in x_BNCHW.unbind(1):
            state_BCHW = self(x_BCHW, state_BCHW)
        return state_BCHW
