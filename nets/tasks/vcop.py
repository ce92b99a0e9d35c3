"""VCOP: classify the permutation of a video's clips.

Xu et al., "Self-supervised Spatiotemporal Learning via Video Clip Order Prediction", CVPR 2019; numbers are those of
CtP's baseline (specs/ctp.md 1.6).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import require
from nets import backbones
from nets.losses import classification
from nets.tasks import Pretext, Schema

METRIC = "accuracy"


@dataclass(frozen=True)
class Config:
    """Options of the network; the defaults are those of CtP's baseline."""

    hidden: int = 512
    """Width of the features of a pair of clips."""
    dropout: float = 0.5
    """Probability of dropping a feature of a pair."""

    def __post_init__(self) -> None:
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


def build(backbone: str, schema: Schema, cfg: Config) -> "ClipOrder":
    """Build the network for the number of clips in the schema; UserError for an unknown backbone."""
    clips = schema["clips"][0][0]
    return ClipOrder(backbones.create(backbone), clips, cfg)


class ClipOrder(Pretext):
    """Embed each pair of clips, and classify the permutation from all pairs."""

    pairs_P2: Tensor

    def __init__(self, backbone: backbones.Backbone, clips: int, cfg: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("pairs_P2", torch.tensor(list(combinations(range(clips), 2))), persistent=False)
        self.compare = nn.Linear(2 * backbone.out_channels, cfg.hidden)
        self.dropout = nn.Dropout(cfg.dropout)
        self.classify = nn.Linear(len(self.pairs_P2) * cfg.hidden, math.factorial(clips))
        nn.init.kaiming_normal_(self.compare.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.classify.weight, std=0.001)
        nn.init.zeros_(self.compare.bias)
        nn.init.zeros_(self.classify.bias)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map `clips` (B, K, 3, T, H, W) and `labels` (B,) to the scalars of `classification`, K! classes."""
        clips_BKCTHW = batch["clips"]
        features_NC = self.backbone(clips_BKCTHW.flatten(0, 1)).mean(dim=(2, 3, 4))
        features_BKC = features_NC.unflatten(0, clips_BKCTHW.shape[:2])
        pairs_BPC = F.relu(self.compare(features_BKC[:, self.pairs_P2].flatten(2)))
        logits_BN: Tensor = self.classify(self.dropout(pairs_BPC.flatten(1)))
        return classification(logits_BN, batch["labels"])
