"""The loss terms of Static and Dynamic Concepts (specs/concepts.md 4), each a scalar.

The first axis of what they take is that of the views, the second that of this rank's B samples; N are the samples of
all ranks. A term is a mean over samples, so the ranks' mean is that of one process with the whole batch, but for
`local_contrast`, which looks at one rank's samples alone.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.distributed import rank
from nets.losses import top1
from nets.sinkhorn import sinkhorn

INSTANCE_TEMPERATURE = 0.07
CONCEPT_TEMPERATURE = 0.1
ACTIVE = 10  # a concept is active in a sample whose score for it is above the tenth largest
MARGIN = 1.4


def instance_contrast(queries_2BD: Tensor, keys_N2D: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding each query's video among N by the key of its other clip (4.1).

    Args:
        queries_2BD: unit vectors of both clips.
        keys_N2D: those of all ranks, in rank order, without gradient.

    Returns:
        The mean over both clips, ln N at chance, and the top-1.
    """
    logits_2BN = torch.einsum("vbd,nvd->vbn", queries_2BD, keys_N2D.flip(1)) / INSTANCE_TEMPERATURE
    samples = queries_2BD.shape[1]
    labels_B = rank() * samples + torch.arange(samples, device=queries_2BD.device)
    logits_MN, labels_M = logits_2BN.flatten(0, 1), labels_B.repeat(2)
    return F.cross_entropy(logits_MN, labels_M), top1(logits_MN, labels_M)


def alignment(scores_VBK: Tensor, everyones_VMK: Tensor) -> Tensor:
    """Cross-entropy of every view's concepts with Sinkhorn's assignment of each of the other views (4.2).

    Args:
        scores_VBK: cosines of this rank's samples.
        everyones_VMK: cosines of all that is to be balanced, without gradient: those of all ranks in rank order,
            which hold `scores_VBK`, and maybe older ones after them.
    """
    views, samples, _ = scores_VBK.shape
    codes_VBK = sinkhorn(everyones_VMK)[:, rank() * samples :][:, :samples]
    log_p_VBK = (scores_VBK / CONCEPT_TEMPERATURE).log_softmax(-1)
    pairs_VV = -torch.einsum("ibk,jbk->ij", codes_VBK, log_p_VBK) / samples
    return (pairs_VV.sum() - pairs_VV.trace()) / (views * (views - 1))


def negative_entropy(scores_VBK: Tensor) -> Tensor:
    """Mean negative entropy of the concepts, from -ln K where all are as likely up to 0 (4.3)."""
    log_p_VBK = (scores_VBK / CONCEPT_TEMPERATURE).log_softmax(-1)
    return (log_p_VBK.exp() * log_p_VBK).sum(-1).mean()


def reconstruction(rebuilt_VBC: Tensor, features_VBC: Tensor) -> Tensor:
    """Mean negative cosine of rebuilt features with the true ones, which get no gradient (4.4)."""
    return -F.cosine_similarity(rebuilt_VBC, features_VBC.detach(), dim=-1).mean()


def local_contrast(parts_2BNC: Tensor, scores_2BN: Tensor) -> Tensor:
    """Contrast of what two clips have of a concept, against what other samples of this rank have of it (4.5).

    Counted are the concepts that are among the highest scores in both clips of the query's sample. Needs 2 samples
    and 10 concepts or more.

    Args:
        parts_2BNC: what `ConceptAttention` gathered, for N concepts.
        scores_2BN: cosines with those concepts; they get no gradient.
    """
    parts_2BNC, scores_2BN = F.normalize(parts_2BNC, dim=-1), scores_2BN.detach()
    samples = parts_2BNC.shape[1]
    active_BN = (scores_2BN > scores_2BN.topk(ACTIVE).values[..., -1:]).all(0)
    cosines_2BPN = torch.einsum("vbnc,vpnc->vbpn", parts_2BNC, parts_2BNC.detach().flip(0))
    squares_2BPN = 2 - 2 * cosines_2BPN + 1e-5
    own_BP1 = torch.eye(samples, dtype=torch.bool, device=squares_2BPN.device)[..., None]
    short_2BPN = (MARGIN - squares_2BPN.sqrt()).relu().square() / (samples - 1)
    terms_2BN = torch.where(own_BP1, squares_2BPN, short_2BPN).sum(2)
    return (terms_2BN * active_BN).sum() / (2 * active_BN.sum() + 1)
