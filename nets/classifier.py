"""The clip classifier: backbone, global average pooling, one linear layer (specs/ctp.md 3)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import UserError, require
from nets.backbones import Backbone, create
from nets.batch_augment import BatchAugment, Normalization
from nets.losses import classification
from nets.tasks import Pretext

AUGMENTATIONS = ("rand_augment", "erase_prob", "mixup", "cutmix")
"""Keys of what changes a batch in training; none of them for a pretext task."""


@dataclass(frozen=True)
class Config:
    """Options of the classifier; the defaults are CtP's."""

    l2_norm: bool = False
    """Scale pooled features to unit length, as CSTP does, and CoCLR for its linear probe."""
    batch_norm: bool = False
    """Batch norm before the linear layer, as in CSTP, CPC with a Transformer, and CoCLR's linear probe."""
    layer_norm: bool = False
    """Layer norm before the linear layer, as VideoMAE finetunes."""
    drop_path: float = 0.0
    """Rate of stochastic depth of the backbone's last block; for vision transformers."""
    dropout: float = 0.5
    """Probability of dropping a pooled feature."""
    init: Literal["normal", "orthogonal"] = "normal"
    """Initial weights of the linear layer; its bias starts at 0."""
    init_std: float = 0.001
    """Standard deviation of `init: normal`."""
    rand_augment: tuple[int, int] | None = None
    """Training: operations that change a clip, and their magnitude from 0 to 30 (torchvision's RandAugment)."""
    erase_prob: float = 0.0
    """Training: probability that a box of the clip becomes noise."""
    mixup: float = 0.0
    """Training: blend clips in pairs, with shares from Beta(mixup, mixup). 0 for none."""
    cutmix: float = 0.0
    """Training: paste a box of another clip, with areas from Beta(cutmix, cutmix). 0 for none. With mixup, each batch
    gets one of the two."""
    label_smoothing: float = 0.0
    """Share of the label that is spread over all classes."""

    def __post_init__(self) -> None:
        require(not (self.batch_norm and self.layer_norm), "layer_norm", True, "false where batch_norm is true")
        for key in ("drop_path", "label_smoothing", "dropout"):
            require(0 <= getattr(self, key) < 1, key, getattr(self, key), "at least 0 and below 1")
        require(0 <= self.erase_prob <= 1, "erase_prob", self.erase_prob, "from 0 to 1")
        for key in ("mixup", "cutmix", "init_std"):
            require(getattr(self, key) >= 0, key, getattr(self, key), "0 or more")
        if self.rand_augment is not None:
            ops, magnitude = self.rand_augment
            fits = ops >= 1 and 0 <= magnitude <= 30
            require(fits, "rand_augment", list(self.rand_augment), "[operations, magnitude], at least 1 and 0 to 30")


def pretext_classifier(backbone: str, classes: int, cfg: Config) -> "Classifier":
    """Build the classifier of a pretext task. UserError for an unknown backbone, and for finetuning's augmentation."""
    for key in AUGMENTATIONS:
        if getattr(cfg, key):
            raise UserError(f"net.{key} is for clipfeed finetune; a pretext task has its own augmentation")
    return Classifier(create(backbone), classes, cfg)


class Classifier(Pretext):
    """Classify clips.

    Layers in order: global average pooling, L2 and batch or layer normalization where enabled, dropout, linear.
    """

    def __init__(
        self, backbone: Backbone, classes: int, cfg: Config, *, normalization: Normalization | None = None
    ) -> None:
        """Build the classifier around a backbone. `normalization` is its clips', for `rand_augment`."""
        super().__init__()
        self.backbone = backbone
        if cfg.drop_path:
            backbone.set_drop_path(cfg.drop_path)
        self.l2_norm, self.frozen = cfg.l2_norm, False
        self.norm: nn.Module = nn.Identity()
        if cfg.batch_norm:
            self.norm = nn.BatchNorm1d(backbone.out_channels)
        elif cfg.layer_norm:
            self.norm = nn.LayerNorm(backbone.out_channels, eps=1e-6)
        self.dropout = nn.Dropout(cfg.dropout)
        self.linear = nn.Linear(backbone.out_channels, classes)
        if cfg.init == "orthogonal":
            nn.init.orthogonal_(self.linear.weight)
        else:
            nn.init.normal_(self.linear.weight, std=cfg.init_std)
        nn.init.zeros_(self.linear.bias)
        augments = any(getattr(cfg, key) for key in AUGMENTATIONS)
        self.augment = BatchAugment(cfg, classes=classes, normalization=normalization) if augments else None
        self.label_smoothing = cfg.label_smoothing

    def check_batch(self, per_rank: int, ranks: int) -> None:
        if isinstance(self.norm, nn.BatchNorm1d):
            key = "net.batch_norm"
        elif self.augment is not None and self.augment.mix is not None:
            key = "net.mixup or net.cutmix"
        else:
            return
        if per_rank < 2:
            raise UserError(
                f"{key} needs at least 2 videos in each batch of a rank, not {per_rank}: "
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
        """Map `clips` (B, 3, T, H, W) and `labels` (B,) to the scalars of `classification`.

        Clips may be (B, R, 3, T, H, W), R per video. They are augmented only in training; the accuracy counts the true
        labels.
        """
        clips_BCTHW, labels_B = batch["clips"], batch["labels"]
        if clips_BCTHW.ndim == 6:  # those of a video far apart: neighbors are mixed
            labels_B = labels_B.repeat(clips_BCTHW.shape[1])
            clips_BCTHW = clips_BCTHW.transpose(0, 1).flatten(0, 1)
        shares_BN = None
        if self.training and self.augment is not None:
            clips_BCTHW, shares_BN = self.augment(clips_BCTHW, labels_B)
        return classification(self.logits(clips_BCTHW), labels_B, shares_BN, smoothing=self.label_smoothing)
