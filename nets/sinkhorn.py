"""Sinkhorn's balanced assignment, as SwAV (arXiv 2006.09882) uses it for codes (specs/concepts.md 4.2)."""

import torch
from torch import Tensor

EPSILON = 0.05
ITERATIONS = 3


@torch.no_grad()
def sinkhorn(scores_BK: Tensor) -> Tensor:
    """Assigns B samples softly to K concepts, so that every concept gets about the same share of the samples.

    The rows of exp(scores / EPSILON) are scaled to a sum of 1 and the columns to equal sums, in turns. In logarithms
    that is a log-softmax along either axis, so no score overflows.

    Args:
        scores_BK: float32 (..., B, K).

    Returns:
        The same shape. Rows sum to 1, columns to B/K as far as the turns have got.
    """
    log_BK = scores_BK.float() / EPSILON
    for _ in range(ITERATIONS):
        log_BK = log_BK.log_softmax(-2).log_softmax(-1)
    return log_BK.exp()
