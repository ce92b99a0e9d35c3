"""Dense predictive coding: predict coming feature maps one after the other, and find them among the batch's.

Shared by MemDPC, DPC and CPC with a Transformer (specs/ctp.md 1.2, specs/cpc_transformer.md 3.5, 3.6, 4).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import UserError
from nets.conv_gru import ConvGRU
from nets.losses import dense_nce, places


def predictor(channels: int) -> nn.Sequential:
    """The next feature map from the state, place by place; both (B, channels, H, W)."""
    first, last = (nn.Conv2d(channels, channels, 1) for _ in range(2))
    for conv in (first, last):
        nn.init.orthogonal_(conv.weight)
        nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return nn.Sequential(first, nn.ReLU(inplace=True), last)


def predict_ahead(gru: ConvGRU, head: nn.Module, context_BNCHW: Tensor, steps: int) -> Tensor:
    """The next maps after a context: each prediction, rectified, is the next input of the recurrent unit.

    Returns:
        (B, steps, C, H, W), not rectified.
    """
    state = gru.roll(context_BNCHW)
    predicted = [head(state)]
    for _ in range(steps - 1):
        state = gru(F.relu(predicted[-1]), state)
        predicted.append(head(state))
    return torch.stack(predicted, dim=1)


def find_among_all(predicted_BNCHW: Tensor, target_BNCHW: Tensor) -> dict[str, Tensor]:
    """InfoNCE of every predicted place against every target place of this rank's batch.

    Gradients flow to predictions and targets alike, as in the original.

    Returns:
        `loss`, its `top1`, and `chance`, the top-1 of guessing.
    """
    predicted_MC, target_MC = places(predicted_BNCHW), places(target_BNCHW)
    loss, top1 = dense_nce(predicted_MC, target_MC)
    return {"loss": loss, "top1": top1, "chance": torch.full_like(top1, 1 / len(target_MC))}


def check_steps(pred_steps: int, total: int, key: str) -> None:
    """UserError when nothing is left to observe of the `total` frames or blocks that `key` of the recipe sets."""
    if pred_steps >= total:
        raise UserError(f"net.pred_steps = {pred_steps} leaves nothing to observe of {key} = {total}: lower it")
