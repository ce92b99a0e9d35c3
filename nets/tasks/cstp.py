"""CSTP: BYOL between two clips, with heads for overlap in space and time, playback rate and rotation.

Zhang et al., "Contrastive Spatio-Temporal Pretext Learning for Self-supervised Video Representation", AAAI 2022,
arXiv 2112.08913; numbers are those of its code (specs/cstp.md 2.3 to 3).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import UserError, require
from nets import backbones
from nets.ema import ema_copy, ema_update
from nets.losses import byol_loss, top1
from nets.mlp import mlp
from nets.tasks import Pretext, Schema

METRIC = "accuracy"
MOMENTUM = 0.996
OVERLAPS, CLASSES = 5, 4  # classes of each overlap, and of playback and rotation


@dataclass(frozen=True)
class Reference:
    """Bugs of the original that can be switched on to reproduce it (specs/cstp.md 2.3 to 2.5)."""

    random_target: bool = False
    """Initialize the target network independently of the online network."""
    random_bn: bool = False
    """Draw batch norm's scales around 0, like the weights of a linear layer."""
    spare_class: bool = False
    """Give playback and rotation a fifth class that no sample has."""


@dataclass(frozen=True)
class Config:
    """Options of the network; the defaults are those of the paper's code for R(2+1)D (specs/cstp.md 2.3)."""

    projector: int | None = 4096
    """Hidden width of BYOL's projectors, online and target; null for none."""
    predictor: int = 4096
    """Hidden width of BYOL's predictor."""
    mlp_heads: bool = True
    """Classify with MLPs of one hidden layer, as wide as their input, instead of linear layers."""
    unit_features: bool = False
    """Scale pooled features to unit length, as the original does for I3D."""
    loss_weight: tuple[float, float, float, float, float] = (0.1, 1.0, 1.0, 1.0, 1.0)
    """Weights of BYOL, spatial overlap, temporal overlap, playback, rotation; the last two sum over both clips."""
    reference: Reference = field(default_factory=Reference)
    """Bugs of the original, all off by default."""

    def __post_init__(self) -> None:
        require(self.projector is None or self.projector >= 1, "projector", self.projector, "at least 1, or null")
        require(self.predictor >= 1, "predictor", self.predictor, "at least 1")
        require(min(self.loss_weight) >= 0, "loss_weight", list(self.loss_weight), "0 or more")


def build(backbone: str, schema: Schema, cfg: Config) -> "Cstp":
    """Build the network; UserError for an unknown backbone."""
    return Cstp(backbones.create(backbone), cfg)


class Cstp(Pretext):
    """Online network, its EMA target, and four classification heads."""

    seen: Tensor
    """Class frequencies of each label so far, for `chance`."""

    def __init__(self, backbone: backbones.Backbone, cfg: Config) -> None:
        super().__init__()
        width = backbone.out_channels
        self.cfg = cfg
        self.backbone = backbone
        self.projector = nn.Identity() if cfg.projector is None else mlp(width, cfg.projector, width)
        self.predictor = mlp(width, cfg.predictor, width)
        classes = CLASSES + cfg.reference.spare_class
        self.spatial, self.temporal = (head(2 * width, OVERLAPS, cfg) for _ in range(2))
        self.playback, self.rotation = (head(width, classes, cfg) for _ in range(2))
        initialize(self, cfg)
        self.target_backbone, self.target_projector = ema_copy(self.backbone), ema_copy(self.projector)
        if cfg.reference.random_target:
            initialize(self.target_backbone, cfg)
            initialize(self.target_projector, cfg)
        self.register_buffer("seen", torch.zeros(4, OVERLAPS))

    def check_batch(self, per_rank: int, ranks: int) -> None:
        """Raise UserError for a single sample: batch norm on pooled features needs two."""
        if per_rank < 2:
            raise UserError(f"cstp needs 2 samples per rank and micro-step, not {per_rank}: raise train.global_batch")

    def before_step(self, epoch: int) -> None:
        """Update the target by EMA; its batch norms track their own statistics."""
        ema_update(self.target_backbone, self.backbone, MOMENTUM)
        ema_update(self.target_projector, self.projector, MOMENTUM)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map `clips` (B, 2, 3, T, H, W) and the labels to scalars.

        `loss_byol`, from 0 to 8, is the sum over both directions. The others are cross-entropies; those of playback
        and rotation are means over both clips, while `loss` counts the sum. `accuracy` is the mean of the four
        accuracies, `chance` its value for always predicting the most frequent class so far.
        """
        clips = batch["clips"].unbind(1)
        # One forward pass per clip: batch norm statistics are those of one clip, online and in the target.
        features_BC = [self.pool(self.backbone(clip)) for clip in clips]
        queries_BC = [self.predictor(self.projector(f)) for f in features_BC]
        with torch.no_grad():
            targets_BC = [self.target_projector(self.pool(self.target_backbone(clip))) for clip in clips]
        losses = [byol_loss(queries_BC[0], targets_BC[1]) + byol_loss(queries_BC[1], targets_BC[0])]

        pair_BC = torch.cat(features_BC, dim=1)
        predictions = {
            "spatial": (self.spatial(pair_BC), batch["spatial"]),
            "temporal": (self.temporal(pair_BC), batch["temporal"]),
            "playback": (torch.cat([self.playback(f) for f in features_BC]), batch["playback"].repeat(2)),
            "rotation": (torch.cat([self.rotation(f) for f in features_BC]), batch["rotation"].T.flatten()),
        }
        losses += [F.cross_entropy(logits.float(), labels) for logits, labels in predictions.values()]
        counts = (1, 1, 1, 2, 2)
        weighted = [w * n * term for w, n, term in zip(self.cfg.loss_weight, counts, losses, strict=True)]
        classes = torch.arange(OVERLAPS, device=self.seen.device)
        self.seen += torch.stack([(labels[:, None] == classes).float().mean(0) for _, labels in predictions.values()])
        accuracies = {name: top1(*prediction) for name, prediction in predictions.items()}
        return {
            "loss": torch.stack(weighted).sum(),
            **{f"loss_{name}": term.detach() for name, term in zip(("byol", *predictions), losses, strict=True)},
            **{f"accuracy_{name}": value for name, value in accuracies.items()},
            "accuracy": torch.stack([*accuracies.values()]).mean(),
            "chance": (self.seen.amax(1) / self.seen.sum(1)).mean(),
        }

    def pool(self, features_BCTHW: Tensor) -> Tensor:
        """Average over time and space, (B, C)."""
        pooled_BC = features_BCTHW.mean(dim=(2, 3, 4))
        return F.normalize(pooled_BC) if self.cfg.unit_features else pooled_BC


def head(width: int, classes: int, cfg: Config) -> nn.Module:
    """Build a classification head, (N, width) -> (N, classes)."""
    return mlp(width, width, classes) if cfg.mlp_heads else nn.Linear(width, classes)


@torch.no_grad()
def initialize(net: nn.Module, cfg: Config) -> None:
    """Draw linear layers and convolutions from Xavier's uniform distribution, in place (specs/cstp.md 2.5)."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv3d):
            nn.init.xavier_uniform_(module.weight)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm3d) and cfg.reference.random_bn:
            bound = (6 / (2 * (module.num_features // 2))) ** 0.5
            nn.init.uniform_(module.weight, -bound, bound)
