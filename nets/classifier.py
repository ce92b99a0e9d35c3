"""The clip classifier: backbone, global average pooling, one linear layer (specs/ctp.md 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import UserError, require
from nets.backbones import Backbone
from nets.losses import classification
from nets.tasks import Pretext


@dataclass(frozen=True)
class Config:
    """Options of the classifier; the defaults are CtP's."""

    l2_norm: bool = False
    """Scale pooled features to unit length, as CSTP does, and CoCLR for its linear probe."""
    batch_norm: bool = False
    """Batch norm before the linear layer, as in CSTP, CPC with a Transformer, and CoCLR's linear probe."""
    dropout: float = 0.5
    """Probability of dropping a pooled feature."""
    init: Literal["normal", "orthogonal"] = "normal"
    """Initial weights of the linear layer; its bias starts at 0."""
    init_std: float = 0.001
    """Standard deviation of `init: normal`."""

    def __post_init__(self) -> None:
        require(0 <= self.dropout < 1, "dropout", self.dropout, "at least 0 and below 1")
        require(self.init_std >= 0, "init_std", self.init_std, "0 or more")


class Classifier(Pretext):
    """Classify clips.

    Layers in order: global average pooling, L2 and batch normalization where enabled, dropout, linear.
    """

    def __init__(self, backbone: Backbone, classes: int, cfg: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.l2_norm, self.frozen = cfg.l2_norm, False
        self.norm = nn.BatchNorm1d(backbone.out_channels) if cfg.batch_norm else nn.Identity()
        self.dropout = nn.Dropout(cfg.dropout)
        self.linear = nn.Linear(backbone.out_channels, classes)
        if cfg.init == "orthogonal":
            nn.init.orthogonal_(self.linear.weight)
        else:
            nn.init.normal_(self.linear.weight, std=cfg.init_std)
        nn.init.zeros_(self.linear.bias)

    def check_batch(self, per_rank: int, ranks: int) -> None:
        if per_rank < 2 and not isinstance(self.norm, nn.Identity):
            raise UserError(
                f"net.batch_norm needs at least 2 videos in each batch of a rank, not {per_rank}: "
                "raise train.global_batch, or lower train.accumulate or the number of ranks"
            )

    def freeze(self) -> None:
        """Keep the backbone without gradients and in eval mode from now on, for linear probing."""
        self.frozen = True
        self.backbone.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Classifier":
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def logits(self, clips_BCTHW: Tensor) -> Tensor:
        """Map clips (B, 3, T, H, W) to logits (B, classes)."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            features_BC = self.backbone(clips_BCTHW).mean(dim=(2, 3, 4))
        if self.l2_norm:
            features_BC = F.normalize(features_BC)
        logits_BN: Tensor = self.linear(self.dropout(self.norm(features_BC)))
        return logits_BN

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map `clips` (B, 3, T, H, W) and `labels` (B,) to the scalars of `classification`."""
        return classification(self.logits(batch["clips"]), batch["labels"])
