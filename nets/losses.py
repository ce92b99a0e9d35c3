"""Losses and metrics that several tasks share."""

import torch
import torch.nn.functional as F
from torch import Tensor


@torch.no_grad()
def top1(logits_NK: Tensor, labels_N: Tensor) -> Tensor:
    """The share of rows whose largest logit is the label's, a scalar."""
    return (logits_NK.argmax(1) == labels_N).float().mean()


def dense_nce(predicted_MC: Tensor, target_MC: Tensor) -> tuple[Tensor, Tensor]:
    """InfoNCE of M predictions against M targets: raw dot products, the one in the same place is right.

    Gradients flow to both sides. The source is DPC's loss as MemDPC and CPC with a Transformer use it
    (specs/ctp.md 1.2, specs/cpc_transformer.md 4): M counts every sample, step and place of the batch.

    Returns:
        The cross-entropy, ln M at chance where the products are small, and the top-1.
    """
    with torch.autocast(predicted_MC.device.type, enabled=False):  # bfloat16 is too coarse for raw products
        logits_MM = predicted_MC.float() @ target_MC.float().T
    labels_M = torch.arange(len(logits_MM), device=logits_MM.device)
    return F.cross_entropy(logits_MM, labels_M), top1(logits_MM, labels_M)


def byol_loss(predicted_ND: Tensor, target_ND: Tensor) -> Tensor:
    """BYOL's (arXiv 2006.07733): mean squared distance of unit vectors, 2 - 2 cos, from 0 to 4.

    No gradient flows to the target.
    """
    return (2 - 2 * F.cosine_similarity(predicted_ND.float(), target_ND.detach().float())).mean()


def places(maps_BNCHW: Tensor) -> Tensor:
    """(B, N, C, H, W) -> (B*N*H*W, C), for `dense_nce`."""
    return maps_BNCHW.movedim(2, -1).flatten(0, 3)
