"""The scalar loss terms of Static and Dynamic Concepts (specs/concepts.md 4).

Axis 0 of the arguments is the view, axis 1 one of this rank's B samples; N counts the samples of all ranks. Each term
is a mean over samples, so its mean over ranks equals that of one process with the whole batch. The exception is
`local_contrast`, which contrasts the samples of one rank.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from nets.distributed import rank
from nets.losses import top1
from nets.sinkhorn import sinkhorn

INSTANCE_TEMPERATURE = 0.07
CONCEPT_TEMPERATURE = 0.1
ACTIVE = 10  # concepts that score above the tenth largest score of a sample are active in it
MARGIN = 1.4


def instance_contrast(queries_2BD: Tensor, keys_N2D: Tensor) -> tuple[Tensor, Tensor]:
    """Compute InfoNCE from each clip to the key of its video's other clip, among N videos (4.1).

    Args:
        queries_2BD: unit vectors of both clips.
        keys_N2D: the same of all ranks, in rank order, without gradient.

    Returns:
        The loss, a mean over both clips (ln N at chance), and the top-1 accuracy.
    """
    logits_2BN = torch.einsum("vbd,nvd->vbn", queries_2BD, keys_N2D.flip(1)) / INSTANCE_TEMPERATURE
    samples = queries_2BD.shape[1]
    labels_B = rank() * samples + torch.arange(samples, device=queries_2BD.device)
    logits_MN, labels_M = logits_2BN.flatten(0, 1), labels_B.repeat(2)
    return F.cross_entropy(logits_MN, labels_M), top1(logits_MN, labels_M)


def alignment(scores_VBK: Tensor, all_scores_VMK: Tensor) -> Tensor:
    """Compute the cross-entropy of each view's concepts with the Sinkhorn codes of the other views (4.2).

    Args:
        scores_VBK: cosines of this rank's samples with the concepts.
        all_scores_VMK: what Sinkhorn balances, without gradient: the scores of all ranks in rank order, including
            `scores_VBK`, then possibly those of a queue.
    """
    views, samples, _ = scores_VBK.shape
    codes_VBK = sinkhorn(all_scores_VMK)[:, rank() * samples :][:, :samples]
    log_p_VBK = (scores_VBK / CONCEPT_TEMPERATURE).log_softmax(-1)
    pairs_VV = -torch.einsum("ibk,jbk->ij", codes_VBK, log_p_VBK) / samples
    return (pairs_VV.sum() - pairs_VV.trace()) / (views * (views - 1))


def negative_entropy(scores_VBK: Tensor) -> Tensor:
    """Compute the mean negative entropy over concepts, from -ln K (uniform) to 0 (4.3)."""
    log_p_VBK = (scores_VBK / CONCEPT_TEMPERATURE).log_softmax(-1)
    return (log_p_VBK.exp() * log_p_VBK).sum(-1).mean()


def reconstruction(reconstructed_VBC: Tensor, features_VBC: Tensor) -> Tensor:
    """Compute the mean negative cosine with the true features, which get no gradient (4.4)."""
    return -F.cosine_similarity(reconstructed_VBC, features_VBC.detach(), dim=-1).mean()


def local_contrast(attended_2BNC: Tensor, scores_2BN: Tensor) -> Tensor:
    """Compute a margin loss between two clips' features of a concept; other samples are negatives (4.5).

    Only concepts that are active in both clips of the query's sample count. Needs at least 2 samples and 10 concepts.

    Args:
        attended_2BNC: features of N concepts, from `ConceptAttention`.
        scores_2BN: cosines with these concepts; they get no gradient.
    """
    attended_2BNC, scores_2BN = F.normalize(attended_2BNC, dim=-1), scores_2BN.detach()
    samples = attended_2BNC.shape[1]
    active_BN = (scores_2BN > scores_2BN.topk(ACTIVE).values[..., -1:]).all(0)
    cosines_2BPN = torch.einsum("vbnc,vpnc->vbpn", attended_2BNC, attended_2BNC.detach().flip(0))
    sq_distances_2BPN = 2 - 2 * cosines_2BPN + 1e-5
    positive_BP1 = torch.eye(samples, dtype=torch.bool, device=sq_distances_2BPN.device)[..., None]
    negatives_2BPN = (MARGIN - sq_distances_2BPN.sqrt()).relu().square() / (samples - 1)
    terms_2BN = torch.where(positive_BP1, sq_distances_2BPN, negatives_2BPN).sum(2)
    return (terms_2BN * active_BN).sum() / (2 * active_BN.sum() + 1)
