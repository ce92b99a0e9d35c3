"""The weighted kNN classifier on fixed features: nothing is trained, nothing is tuned.

Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018, arXiv 1805.01978,
section 3.4, with the settings of DINO (Caron et al., ICCV 2021, arXiv 2104.14294).
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from trainers.evaluation.features import Features, chance, readable_tensors
from trainers.evaluation.intervals import wilson
from trainers.evaluation.predict import top_k

KS = (10, 20)
K = 20  # for `top1`, fixed in advance: picking the better of KS would be tuning on the test videos
TEMPERATURE = 0.07
TOP5_CLASSES = 6  # with fewer, top-5 is meaningless
BLOCK = 256  # queries whose cosines are in memory at once
DECIMALS = 9  # of a cosine and of a score: smaller differences are rounding errors


def scores(train_NC: Tensor, labels_N: Tensor, test_MC: Tensor, *, classes: int, k: int) -> Tensor:
    """Score test videos by the votes of their k nearest training videos.

    A neighbor votes for its class with weight exp(cosine / temperature). Ties with the k-th neighbor vote too, so the
    order of the videos does not matter. With fewer than k training videos, all of them vote. Features may have any
    norm. Returns each class's share of the votes, float64 (M, classes).
    """
    train_NC, test_MC = (normalize(values.double(), dim=1) for values in (train_NC, test_MC))
    found = []
    for test_BC in test_MC.split(BLOCK):
        cosine_BN = (test_BC @ train_NC.T).round(decimals=DECIMALS)
        least_B1 = cosine_BN.topk(min(k, len(train_NC)), dim=1).values[:, -1:]
        votes_BN = torch.where(cosine_BN >= least_B1, ((cosine_BN - 1) / TEMPERATURE).exp(), 0)
        sums_BK = votes_BN.new_zeros(len(test_BC), classes).index_add_(1, labels_N, votes_BN)
        found.append((sums_BK / sums_BK.sum(1, keepdim=True)).round(decimals=DECIMALS))
    return torch.cat(found)


def probe(train: Features, test: Features, *, classes: int, device: torch.device) -> dict[str, Any]:
    """Classify `test` by its neighbors in `train`; return `top1`, its 95 % `interval` and the `chance` level.

    Also `top1_by_k`, for each of `KS`, and `top5` if there are more than five classes. Unreadable test videos and ties
    between classes count as wrong; unreadable training videos are left out. UserError if no training video is left.
    """
    x, y, test_x = readable_tensors(train, test, device)
    tables = {k: np.full((len(test.names), classes), np.nan) for k in KS}
    for k, table in tables.items():
        table[test.readable] = scores(x, y, test_x, classes=classes, k=k).cpu().numpy()
    top1 = {k: top_k(table, test.labels, 1) for k, table in tables.items()}
    top5 = {"top5": top_k(tables[K], test.labels, 5)} if classes >= TOP5_CLASSES else {}
    interval = wilson(top1[K] * len(test.names), len(test.names))
    measured = {"top1": top1[K], "interval": interval, "chance": chance(test, train)}
    return {**measured, **top5, "k": K, "temperature": TEMPERATURE, "top1_by_k": top1}
