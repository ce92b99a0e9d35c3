"""CPC with a Transformer: predict the features of a clip's last frames from those before.

The original has code but no paper; the method is DPC's (Han et al., arXiv 1909.04656) on single frames, with a
Transformer over their positions. Numbers are those of its code (specs/cpc_transformer.md 3, 4).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from configs.errors import UserError
from nets import backbones, dense_cpc
from nets.backbones.frame_transformer import FrameTransformer
from nets.dense_cpc import check_steps, predict_next, predictor
from nets.losses import dense_infonce
from nets.tasks import Pretext, Schema

METRIC = "top1"


@dataclass(frozen=True)
class Reference:
    """Bugs of the original that can be switched on to reproduce it."""

    leak: bool = False
    """Pass observed and future frames through the Transformer together, so that the context has seen the future."""


@dataclass(frozen=True)
class Config(dense_cpc.Config):
    """Options of the network; the defaults are the original's."""

    reference: Reference = field(default_factory=Reference)
    """Bugs of the original, all off by default."""


def build(backbone: str, schema: Schema, cfg: Config) -> "CpcTransformer":
    """Build the network for `clips` of the schema; UserError for a backbone without a Transformer."""
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
        """Map `clips` (B, 3, T, H, W) to the scalars of `dense_infonce` over the future frames."""
        context_BTCHW, target_BTCHW = self.context_and_target(batch["clips"])
        predicted_BTCHW = predict_next(self.backbone.gru, self.predictor, context_BTCHW, self.cfg.pred_steps)
        return dense_infonce(predicted_BTCHW, target_BTCHW, self.cfg.negatives)

    def context_and_target(self, clips_BCTHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return maps of the observed frames after ReLU, and of the future ones before: (B, T, C, H, W).

        Observed and future frames do not attend to each other, unless `reference.leak`.
        """
        maps_BTCHW, cut = self.backbone.encode(clips_BCTHW), [-self.cfg.pred_steps]
        if self.cfg.reference.leak:
            observed, future = self.backbone.attend(maps_BTCHW).tensor_split(cut, dim=1)
        else:
            observed, future = (self.backbone.attend(frames) for frames in maps_BTCHW.tensor_split(cut, dim=1))
        return F.relu(observed), future
