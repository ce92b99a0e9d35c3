"""The views, the attention and the loss terms of Static and Dynamic Concepts (specs/concepts.md 3, 4).

Axis 0 of a term's arguments is the view, axis 1 one of this rank's B samples; N counts the samples of all ranks. Each
term is a mean over samples, so its mean over ranks equals that of one process with the whole batch, except
`local_contrast` with the negatives of one rank.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nets.distributed import all_gather, rank, world_size
from nets.losses import top1

INSTANCE_TEMPERATURE = 0.07
CONCEPT_TEMPERATURE = 0.1
ACTIVE = 10  # concepts that score above the tenth largest score of a sample are active in it
MARGIN = 1.4
EPSILON, ITERATIONS = 0.05, 3  # of Sinkhorn-Knopp


def six_views(clips: Tensor, stills: Tensor, *, wrapped: bool) -> Tensor:
    """Stack two clips, two stills repeated in time, two clips of differences: (6*B, 3, T, H, W), channels-last."""
    clips_MTHWC, stills_MTHWC = (views.transpose(0, 1).movedim(2, -1).flatten(0, 1) for views in (clips, stills))
    difference_MTHWC = clips_MTHWC - clips_MTHWC.roll(1, dims=1)
    if not wrapped:
        difference_MTHWC[:, 0] = difference_MTHWC[:, 1]
    views_MTHWC = torch.cat([clips_MTHWC, stills_MTHWC.expand_as(clips_MTHWC), difference_MTHWC])
    return views_MTHWC.movedim(-1, 1)


class ConceptAttention(nn.Module):
    """Slot attention with concepts as slots: they compete for each position, then average what they won (3.4)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.project_q = nn.Linear(dim, dim, bias=False)
        self.project_k = nn.Linear(dim, dim, bias=False)
        self.project_v = nn.Linear(dim, dim, bias=False)
        self.norm_inputs = nn.LayerNorm(dim)
        self.norm_templates = nn.LayerNorm(dim)
        self.norm_mlp = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, dim))

    def forward(self, maps_BCTHW: Tensor, templates_NC: Tensor) -> Tensor:
        """Attend from concepts (N, C) to maps (B, C, T, H, W); return one feature per concept, (B, N, C)."""
        tokens_BLC = self.norm_inputs(maps_BCTHW.flatten(2).transpose(1, 2))
        keys_BLC, values_BLC = self.project_k(tokens_BLC), self.project_v(tokens_BLC)
        queries_NC = self.project_q(self.norm_templates(templates_NC)) * templates_NC.shape[1] ** -0.5
        weights_BLN = F.linear(keys_BLC, queries_NC).softmax(-1) + 1e-8
        weights_BLN = weights_BLN / weights_BLN.sum(1, keepdim=True)
        attended_BNC: Tensor = weights_BLN.transpose(1, 2) @ values_BLC + templates_NC
        update_BNC: Tensor = self.mlp(self.norm_mlp(attended_BNC))
        return attended_BNC + update_BNC


def instance_contrast(queries_2BD: Tensor, keys_N2D: Tensor) -> tuple[Tensor, Tensor]:
    """Compute InfoNCE from each clip to the key of its video's other clip, among N videos (4.1).

    Queries are unit vectors of both clips, keys the same for all ranks, in rank order, without gradient. Returns the
    loss, a mean over both clips (ln N at chance), and the top-1 accuracy.
    """
    logits_2BN = torch.einsum("vbd,nvd->vbn", queries_2BD, keys_N2D.flip(1)) / INSTANCE_TEMPERATURE
    samples = queries_2BD.shape[1]
    labels_B = rank() * samples + torch.arange(samples, device=queries_2BD.device)
    logits_MN, labels_M = logits_2BN.flatten(0, 1), labels_B.repeat(2)
    return F.cross_entropy(logits_MN, labels_M), top1(logits_MN, labels_M)


def alignment(scores_VBK: Tensor, balanced_VMK: Tensor) -> Tensor:
    """Compute the cross-entropy of each view's concepts with the Sinkhorn codes of the other views (4.2).

    `scores_VBK` are cosines of this rank's samples with the concepts. Sinkhorn balances them and the others after them
    in `balanced_VMK`, without gradient.
    """
    views, samples, _ = scores_VBK.shape
    codes_VBK = sinkhorn(balanced_VMK)[:, :samples]
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


def local_contrast(attended_2BNC: Tensor, scores_2BN: Tensor, negatives: Literal["rank", "global"] = "rank") -> Tensor:
    """Compute a margin loss between two clips' features of a concept; other samples are negatives (4.5).

    Only concepts that are active in both clips of the query's sample count. Needs at least 2 samples and 10 concepts.
    `attended_2BNC` are features of N concepts, from `ConceptAttention`; the cosines with these, `scores_2BN`, get no
    gradient. The other samples are those of this rank, or of all ranks.
    """
    attended_2BNC, scores_2BN = F.normalize(attended_2BNC, dim=-1), scores_2BN.detach()
    active_BN = (scores_2BN > scores_2BN.topk(ACTIVE).values[..., -1:]).all(0)
    keys_P2NC, active, first, ranks = attended_2BNC.detach().flip(0).movedim(1, 0), active_BN.sum(), 0, 1
    if negatives == "global":
        first, ranks = rank() * len(active_BN), world_size()
        keys_P2NC, active = all_gather(keys_P2NC), all_gather(active[None]).sum()
    sq_distances_2BPN = 2 - 2 * torch.einsum("vbnc,pvnc->vbpn", attended_2BNC, keys_P2NC) + 1e-5
    query_B11 = first + torch.arange(len(active_BN), device=active.device)[:, None, None]
    positive_BP1 = query_B11 == torch.arange(len(keys_P2NC), device=active.device)[:, None]
    negatives_2BPN = (MARGIN - sq_distances_2BPN.sqrt()).relu().square() / (len(keys_P2NC) - 1)
    terms_2BN = torch.where(positive_BP1, sq_distances_2BPN, negatives_2BPN).sum(2)
    return ranks * (terms_2BN * active_BN).sum() / (2 * active + 1)  # whose mean over ranks is that of one process


@torch.no_grad()
def sinkhorn(scores_BK: Tensor) -> Tensor:
    """Assign B samples softly to K concepts, with about equal shares for all concepts (SwAV, arXiv 2006.09882).

    The columns of exp(scores / EPSILON) are scaled to equal sums and its rows to a sum of 1, alternately. In log space
    each is a log-softmax along one axis, so no score overflows. Shapes are (..., B, K); rows of the result sum to 1,
    columns to B/K, up to the error left after ITERATIONS.
    """
    log_BK = scores_BK.float() / EPSILON
    for _ in range(ITERATIONS):
        log_BK = log_BK.log_softmax(-2).log_softmax(-1)
    return log_BK.exp()
