"""Losses and metrics shared by several tasks."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.distributed import gather_with_gradient, rank


@torch.no_grad()
def top1(logits_NK: Tensor, labels_N: Tensor) -> Tensor:
    """Return the share of rows whose largest logit is the label's, a scalar."""
    return (logits_NK.argmax(1) == labels_N).float().mean()


def classification(
    logits_NK: Tensor, labels_N: Tensor, shares_NK: Tensor | None = None, *, smoothing: float = 0.0
) -> dict[str, Tensor]:
    """Compute the cross-entropy `loss`, the `accuracy`, and `chance`, the accuracy of guessing.

    The loss is with the labels or, if given, with `shares_NK` of each class, rows sum to 1; `smoothing` is the share of
    each label spread over all classes.
    """
    wanted = labels_N if shares_NK is None else shares_NK
    return {
        "loss": F.cross_entropy(logits_NK.float(), wanted, label_smoothing=smoothing),
        "accuracy": top1(logits_NK, labels_N),
        "chance": labels_N.new_full((), 1 / logits_NK.shape[1], dtype=torch.float32),
    }


def dense_infonce(
    predicted_BNCHW: Tensor, target_BNCHW: Tensor, negatives: Literal["rank", "global"] = "rank"
) -> dict[str, Tensor]:
    """Compute InfoNCE of every predicted position against every target position of the batch.

    Similarities are raw dot products; the target at the same position is the positive. Gradients flow to both sides.
    This is DPC's loss as MemDPC and CPC with a Transformer use it (specs/ctp.md 1.2, specs/cpc_transformer.md 4). The
    batch is this rank's or, with global `negatives`, that of all ranks.

    Returns `loss`, ln N at chance for N targets and small products; `top1`; and `chance`, the top-1 of guessing.
    """
    predicted_MC, target_NC = (maps.movedim(2, -1).flatten(0, 3) for maps in (predicted_BNCHW, target_BNCHW))
    labels_M = torch.arange(len(predicted_MC), device=predicted_MC.device)
    if negatives == "global":
        target_NC, labels_M = gather_with_gradient(target_NC), labels_M + rank() * len(labels_M)
    with torch.autocast(predicted_MC.device.type, enabled=False):  # bfloat16 is too coarse for raw products
        logits_MN = predicted_MC.float() @ target_NC.float().T
    accuracy = top1(logits_MN, labels_M)
    return {
        "loss": F.cross_entropy(logits_MN, labels_M),
        "top1": accuracy,
        "chance": torch.full_like(accuracy, 1 / len(target_NC)),
    }


def byol_loss(predicted_ND: Tensor, target_ND: Tensor) -> Tensor:
    """Compute BYOL's loss (arXiv 2006.07733): 2 - 2 cos, from 0 to 4; no gradient flows to the target."""
    return (2 - 2 * F.cosine_similarity(predicted_ND.float(), target_ND.detach().float())).mean()
