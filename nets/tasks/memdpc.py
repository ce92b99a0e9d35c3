"""MemDPC: predict the features of a video's last blocks from those before, and of its first from those after.

Han et al., "Memory-augmented Dense Predictive Coding for Video Representation Learning", ECCV 2020, arXiv 2008.01065;
numbers are those of CtP's code (specs/ctp.md 1.2), which predicts in both directions.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nets import backbones
from nets.conv_gru import ConvGRU
from nets.dense_cpc import Config, check_steps, predict_last
from nets.init import init_orthogonal
from nets.tasks import Pretext, Schema

METRIC = "top1"
TEMPORAL_STRIDES = (1, 1, 2, 2)  # blocks are short: 5 frames give features of 2 time steps
CHANNELS = 256
SLOTS = 1024
INIT_GAIN = 0.1


def build(backbone: str, schema: Schema, cfg: Config) -> "MemDPC":
    """Build the network for `clips` of the schema; UserError for an unknown backbone or too few blocks."""
    check_steps(cfg.pred_steps, schema["clips"][0][0], "plan.num_blocks")
    return MemDPC(backbones.create(backbone, temporal_strides=TEMPORAL_STRIDES), cfg)


class MemDPC(Pretext):
    """Backbone, memory, one ConvGRU for each direction, and loss."""

    def __init__(self, backbone: backbones.Backbone, cfg: Config) -> None:
        super().__init__()
        self.cfg = cfg
        self.backbone = backbone
        self.project = nn.Conv3d(backbone.out_channels, CHANNELS, kernel_size=1)
        self.forward_gru, self.backward_gru = (ConvGRU(CHANNELS, gain=INIT_GAIN) for _ in range(2))
        self.memory = Memory()
        init_orthogonal(self.project, INIT_GAIN)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map `clips` (B, N, 3, T, H, W), N blocks of a video in order, to scalars.

        `loss` is the sum over both directions, `chance_loss` its value for equal similarities. `top1` is the mean of
        both directions, `chance` that of guessing; see `dense_infonce`.
        """
        clips_BNCTHW = batch["clips"]
        features_MCTHW: Tensor = self.project(self.backbone(clips_BNCTHW.flatten(0, 1)))
        blocks_BNCHW = features_MCTHW.mean(dim=2).unflatten(0, clips_BNCTHW.shape[:2])
        forward = predict_last(self.forward_gru, self.memory, blocks_BNCHW, self.cfg)
        backward = predict_last(self.backward_gru, self.memory, blocks_BNCHW.flip(1), self.cfg)
        return {
            "loss": forward["loss"] + backward["loss"],
            "chance_loss": -2 * forward["chance"].log(),
            "top1": (forward["top1"] + backward["top1"]) / 2,
            "chance": forward["chance"],
        }


class Memory(nn.Module):
    """Compressive memory: predict a convex combination of learned slots, addressed by the state."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(SLOTS, CHANNELS))
        self.choose = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.ReLU(), nn.Conv2d(CHANNELS, SLOTS, 1))
        init_orthogonal(self.choose, INIT_GAIN)

    def forward(self, state_BCHW: Tensor) -> Tensor:
        """Map a state to a prediction, both (B, C, H, W), independently at each position."""
        return torch.einsum("bshw,sc->bchw", self.choose(state_BCHW).softmax(dim=1), self.slots)
