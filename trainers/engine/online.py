"""The quality of a run's features while it trains: an online linear probe, and RankMe.

Garrido et al., "RankMe: Assessing the Downstream Performance of Pretrained Self-Supervised Representations by Their
Rank", ICML 2023, arXiv 2210.02885.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, layer_norm

from nets.tasks import Pretext
from trainers.engine.distributed import Ranks
from trainers.engine.eval_mode import eval_mode

WINDOW = 2048  # newest clips of all ranks, over which both metrics are computed
LR = 1e-3
EPSILON = 1e-7


class OnlineProbe:
    """Evaluate a run's backbone during training, without changing it.

    Each step, the backbone runs on the first clip of each sample of the last micro-step, in eval mode and without
    gradient. Rank 0 gathers the pooled features, tests a linear classifier on them, and then trains it on them. It
    looks up a video's class by its row in `labels`, int64 (N,), negative for none, so batches need no labels. Without
    `classes`, it computes RankMe alone.
    """

    def __init__(self, net: Pretext, labels: np.ndarray, *, classes: int, ranks: Ranks, bf16: bool) -> None:
        self._backbone, self._ranks, self._bf16 = net.backbone, ranks, bf16
        self._labels = torch.from_numpy(np.array(labels, np.int64))
        channels = self._backbone.out_channels
        # It starts at zero, so it draws none of the run's random numbers.
        self._head = nn.utils.skip_init(nn.Linear, channels, max(classes, 1))
        for parameter in self._head.parameters():
            nn.init.zeros_(parameter)
        self._optimizer = torch.optim.AdamW(self._head.parameters(), lr=LR) if classes else None
        self._features, self._hits = torch.empty(0, channels), torch.empty(0)

    def update(self, batch: Mapping[str, Tensor]) -> None:
        """Add the batch of the last micro-step. All ranks call this at the same point."""
        clips = batch["clips"]
        clips_BCTHW = clips if clips.ndim == 5 else clips[:, 0]
        device = clips.device.type
        with eval_mode(self._backbone), torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=self._bf16):
            features_BC = self._backbone(clips_BCTHW).float().mean((2, 3, 4))
        rows_B1 = batch["index"].to(features_BC.device, torch.float64)[:, None]
        gathered = self._ranks.gather(torch.cat([features_BC.double(), rows_B1], dim=1).flatten())
        if self._ranks.rank == 0:
            values_N = gathered.view(-1, features_BC.shape[1] + 1)
            values_N = values_N[values_N.isfinite().all(1)]  # those of a skipped step may not be finite
            self._learn(values_N[:, :-1].float(), self._labels[values_N[:, -1].long()])

    def _learn(self, features_NC: Tensor, labels_N: Tensor) -> None:
        self._features = torch.cat([self._features, features_NC])[-WINDOW:]
        labeled_N = labels_N >= 0
        if self._optimizer is None or not labeled_N.any():
            return
        logits_NK = self._head(layer_norm(features_NC[labeled_N], features_NC.shape[1:]))
        hits_N = (logits_NK.argmax(1) == labels_N[labeled_N]).float()
        self._hits = torch.cat([self._hits, hits_N])[-WINDOW:]
        self._optimizer.zero_grad()
        cross_entropy(logits_NK, labels_N[labeled_N]).backward()
        self._optimizer.step()

    def figures(self) -> dict[str, float]:
        """Return `rankme`, and `online_top1` if there are classes. Valid on rank 0 only."""
        top1 = {"online_top1": float(self._hits.sum()) / max(len(self._hits), 1)} if self._optimizer else {}
        return {**top1, "rankme": rankme(self._features)}

    def state_dict(self) -> dict[str, Any]:
        """Return the state to resume from; save that of rank 0."""
        optimizer = self._optimizer.state_dict()["state"] if self._optimizer else {}
        head = self._head.state_dict()
        return {"head": head, "optimizer": optimizer, "features": self._features, "hits": self._hits}

    def load_state_dict(self, state: Mapping[str, Any]) -> str:
        """Restore what `state_dict` returned; return a note if the classifier starts over, or ""."""
        self._features = state["features"]
        if len(state["head"]["bias"]) != len(self._head.bias):  # a dataset may get its labels during a run
            return "the dataset has another number of classes than before: the classifier of online_top1 starts over"
        self._head.load_state_dict(state["head"])
        if self._optimizer:
            groups = self._optimizer.state_dict()["param_groups"]
            self._optimizer.load_state_dict({"state": state["optimizer"], "param_groups": groups})
        self._hits = state["hits"]
        return ""


def rankme(features_NC: Tensor) -> float:
    """Return the effective rank of features: exp of the entropy of their singular values, scaled to sum to 1."""
    if not len(features_NC):
        return 0.0
    singular = torch.linalg.svdvals(features_NC.double())
    share = singular / singular.sum().clamp_min(EPSILON) + EPSILON
    return float((-share * share.log()).sum().exp())
