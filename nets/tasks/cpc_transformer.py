"""CPC with a Transformer: predict the features of a clip's last frames from those before.

The repository has no paper; the method is DPC's (Han et al., arXiv 1909.04656) on single frames, with a Transformer
over their places. Numbers are those of its code (specs/cpc_transformer.md 3, 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from configs.errors import UserError, require
from nets import backbones
from nets.backbones.frame_transformer import FrameTransformer
from nets.dense_cpc import check_steps, find_among_all, predict_ahead, predictor
from nets.tasks import Pretext, Schema

METRIC = "top1"


@dataclass(frozen=True)
class Reference:
    """What the original does and this does not, unless asked for."""

    leak: bool = False
    """Observed and future frames go through the Transformer together: what predicts the future has seen it."""


@dataclass(frozen=True)
class Config:
    """Options of the network side; the defaults are the original's."""

    pred_steps: int = 3
    """Frames to predict, at the end of the clip."""
    reference: Reference = field(default_factory=Reference)
    """The original's flaws, each off unless named."""

    def __post_init__(self) -> None:
        require(self.pred_steps >= 1, "pred_steps", self.pred_steps, "at least 1")


def build(backbone: str, schema: Schema, cfg: Config) -> "CpcTransformer":
    """Makes the network for `clips` of the given schema. UserError for a backbone without a Transformer."""
    _, num_frames, _, _ = schema["clips"][0]
    check_steps(cfg.pred_steps, num_frames, "plan.num_frames")
    network = backbones.create(backbone)
    if not isinstance(network, FrameTransformer):
        raise UserError(f"backbone {backbone!r} has no Transformer over frames: choose resnet18_transformer")
    return CpcTransformer(network, cfg)


class CpcTransformer(Pretext):
    """Backbone, predictor and loss."""

    backbone: FrameTransformer

    def __init__(self, backbone: FrameTransformer, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = backbone
        self.predictor = predictor(backbone.out_channels)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`clips` (B, 3, T, H, W) -> `loss`, `top1` and `chance` over the places of this rank's future frames."""
        context_BTCHW, target_BTCHW = self.context_and_target(batch["clips"])
        predicted_BTCHW = predict_ahead(self.backbone.gru, self.predictor, context_BTCHW, self.cfg.pred_steps)
        return find_among_all(predicted_BTCHW, target_BTCHW)

    def context_and_target(self, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Rectified maps of the observed frames, and maps of the future ones, (B, T, C, H, W) each.

        Observed frames attend to observed frames and future ones to future ones, unless `reference.leak`.
        """
        maps_BTCHW, cut = self.backbone.encode(clips_BCTHW), [-self.cfg.pred_steps]
        if self.cfg.reference.leak:
            observed, future = self.backbone.attend(maps_BTCHW).tensor_split(cut, dim=1)
        else:
            observed, future = (self.backbone.attend(part) for part in maps_BTCHW.tensor_split(cut, dim=1))
        return F.relu(observed), future
