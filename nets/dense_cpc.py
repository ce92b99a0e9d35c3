"""Autoregressive prediction of feature maps, shared by MemDPC, DPC and CPC with a Transformer.

See specs/ctp.md 1.2 and specs/cpc_transformer.md 3.5, 3.6, 4.
"""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import UserError, require
from nets.conv_gru import ConvGRU
from nets.init import init_orthogonal
from nets.losses import dense_infonce


@dataclass(frozen=True)
class Config:
    """Options of the network; the default is the originals'."""

    pred_steps: int = 3
    """Frames or blocks to predict: the last ones, in MemDPC also the first ones."""
    negatives: Literal["rank", "global"] = "rank"
    """Samples whose frames or blocks a prediction is contrasted with: those of the rank, as in the originals, which
    makes the loss depend on the number of ranks, or those of all ranks."""

    def __post_init__(self) -> None:
        require(self.pred_steps >= 1, "pred_steps", self.pred_steps, "at least 1")


def predictor(channels: int) -> nn.Sequential:
    """Build the head that maps a state to the next feature map, both (B, channels, H, W)."""
    head = nn.Sequential(nn.Conv2d(channels, channels, 1), nn.ReLU(inplace=True), nn.Conv2d(channels, channels, 1))
    init_orthogonal(head)
    return head


def predict_next(gru: ConvGRU, head: nn.Module, context_BNCHW: Tensor, steps: int) -> Tensor:
    """Predict the maps after a context, (B, steps, C, H, W), before the ReLU that makes each the GRU's next input."""
    state = gru.final_state(context_BNCHW)
    predicted = [head(state)]
    for _ in range(steps - 1):
        state = gru(F.relu(predicted[-1]), state)
        predicted.append(head(state))
    return torch.stack(predicted, dim=1)


def predict_last(gru: ConvGRU, head: nn.Module, blocks_BNCHW: Tensor, cfg: Config) -> dict[str, Tensor]:
    """Predict the last maps of a sequence from those before; return the scalars of `dense_infonce`."""
    observed_BNCHW, target_BNCHW = blocks_BNCHW.tensor_split([-cfg.pred_steps], dim=1)
    predicted_BNCHW = predict_next(gru, head, F.relu(observed_BNCHW), cfg.pred_steps)
    return dense_infonce(predicted_BNCHW, target_BNCHW, cfg.negatives)


def check_steps(pred_steps: int, total: int, key: str) -> None:
    """Raise UserError unless `pred_steps` leaves context among the `total` frames or blocks of the recipe's `key`."""
    if pred_steps >= total:
        raise UserError(f"net.pred_steps = {pred_steps} leaves no context of {key} = {total}: lower it")
