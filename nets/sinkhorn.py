"""Sinkhorn-Knopp, as SwAV (arXiv 2006.09882) uses it to assign codes (specs/concepts.md 4.2)."""

import torch
from torch import Tensor

EPSILON = 0.05
ITERATIONS = 3


@torch.no_grad()
def sinkhorn(scores_BK: Tensor) -> Tensor:
    """Assign B samples softly to K concepts, with about equal shares for all concepts.

    The columns of exp(scores / EPSILON) are scaled to equal sums and its rows to a sum of 1, alternately. In log space
    each is a log-softmax along one axis, so no score overflows.

    Args:
        scores_BK: float32 (..., B, K).

    Returns:
        The same shape. Rows sum to 1; columns to B/K, up to the error left after ITERATIONS.
    """
    log_BK = scores_BK.float() / EPSILON
    for _ in range(ITERATIONS):
        log_BK = log_BK.log_softmax(-2).log_softmax(-1)
    return log_BK.exp()
