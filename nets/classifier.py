"""A classifier of clips: backbone, average over time and space, dropout, one linear layer (specs/ctp.md 3)."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import require
from nets.backbones import Backbone
from nets.losses import top1
from nets.tasks import Pretext


@dataclass(frozen=True)
class Config:
    """Options of the classifier; the defaults are CtP's."""

    dropout: float = 0.5
    """Share of the pooled features that each training step drops."""

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")


class Classifier(Pretext):
    """Says to which of `classes` a clip belongs."""

    def __init__(self, backbone: Backbone, classes: int, cfg: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout(cfg.dropout)
        self.linear = nn.Linear(backbone.out_channels, classes)
        nn.init.normal_(self.linear.weight, std=0.001)
        nn.init.zeros_(self.linear.bias)

    def logits(self, clips_BCTHW: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, classes)."""
        features_BC = self.backbone(clips_BCTHW).mean(dim=(2, 3, 4))
        return self.linear(self.dropout(features_BC))

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`clips` (B, 3, T, H, W) and `labels` (B,) -> the scalars of `classification`."""
        return classification(self.logits(batch["clips"]), batch["labels"])


def classification(logits_BK: Tensor, labels_B: Tensor) -> dict[str, Tensor]:
    """`loss`, the cross-entropy, ln K for a guess; `accuracy`, and `chance`, that of a guess."""
    return {
        "loss": F.cross_entropy(logits_BK.float(), labels_B),
        "accuracy": top1(logits_BK, labels_B),
        "chance": labels_B.new_tensor(1 / logits_BK.shape[1], dtype=torch.float32),
    }
