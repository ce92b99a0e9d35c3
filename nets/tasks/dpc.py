"""Dense Predictive Coding: predict the features of a video's next blocks from those before.

Han et al., "Video Representation Learning by Dense Predictive Coding", ICCV workshop 2019, arXiv 1909.04656; numbers
are those of its code (specs/cpc_transformer.md 9).
"""

from collections.abc import Mapping

from torch import Tensor

from nets import backbones
from nets.conv_gru import ConvGRU
from nets.dense_cpc import Config, check_steps, predict_last, predictor
from nets.tasks import Pretext, Schema

METRIC = "top1"


def build(backbone: str, schema: Schema, cfg: Config) -> "DPC":
    """Build the network for `clips` of the schema; UserError for an unknown backbone."""
    check_steps(cfg.pred_steps, schema["clips"][0][0], "plan.num_blocks")
    return DPC(backbones.create(backbone), cfg)


class DPC(Pretext):
    """Backbone, ConvGRU, predictor and loss."""

    def __init__(self, backbone: backbones.Backbone, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = backbone
        self.gru = ConvGRU(backbone.out_channels)
        self.predictor = predictor(backbone.out_channels)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map `clips` (B, N, 3, T, H, W) to the scalars of `dense_infonce` over the last blocks."""
        clips_BNCTHW = batch["clips"]
        features_MCTHW = self.backbone(clips_BNCTHW.flatten(0, 1))
        maps_BNCHW = features_MCTHW.mean(dim=2).unflatten(0, clips_BNCTHW.shape[:2])
        return predict_last(self.gru, self.predictor, maps_BNCHW, self.cfg)
