"""MemDPC: predict the features of a video's later blocks from its earlier ones, and the other way round.

Han et al., "Memory-augmented Dense Predictive Coding for Video Representation Learning", ECCV 2020, arXiv 2008.01065;
numbers are those of CtP's code (specs/ctp.md 1.2), which predicts in both directions.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import require
from nets import backbones
from nets.conv_gru import ConvGRU
from nets.dense_cpc import check_steps, find_among_all, predict_ahead
from nets.tasks import Pretext, Schema

METRIC = "top1"
TEMPORAL_STRIDES = (1, 1, 2, 2)  # a block is short: 5 frames leave 2 steps
CHANNELS = 256
SLOTS = 1024
INIT_GAIN = 0.1


@dataclass(frozen=True)
class Config:
    """Options of the network side; the defaults are the original's."""

    pred_steps: int = 3
    """Blocks at the end of the video that are predicted from those before, and at its beginning from those after."""

    def __post_init__(self) -> None:
        require(self.pred_steps >= 1, "pred_steps", self.pred_steps, "at least 1")


def build(backbone: str, schema: Schema, cfg: Config) -> "MemDPC":
    """Makes the network for `clips` of the given schema. UserError for an unknown backbone or too few blocks."""
    check_steps(cfg.pred_steps, schema["clips"][0][0], "plan.num_blocks")
    return MemDPC(backbones.create(backbone, temporal_strides=TEMPORAL_STRIDES), cfg)


class MemDPC(Pretext):
    """Backbone, memory, one recurrent unit for each direction, and loss."""

    def __init__(self, backbone: backbones.Backbone, cfg: Config) -> None:
        super().__init__()
        self.pred_steps = cfg.pred_steps
        self.backbone = backbone
        self.project = nn.Conv3d(backbone.out_channels, CHANNELS, kernel_size=1)
        self.forward_gru, self.backward_gru = (ConvGRU(CHANNELS, gain=INIT_GAIN) for _ in range(2))
        self.memory = Memory()
        start_small(self.project)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`clips` (B, N, 3, T, H, W), N blocks of a video in order -> scalars; only `loss` carries a gradient.

        `loss` is the sum of both directions, `chance_loss` what it is where nothing is told apart, `top1` the share
        of predictions that are nearest to their own target among all of the rank's, `chance` that of a guess.
        """
        clips_BNCTHW = batch["clips"]
        features_MCTHW = self.project(self.backbone(clips_BNCTHW.flatten(0, 1)))
        blocks_BNCHW = features_MCTHW.mean(dim=2).unflatten(0, clips_BNCTHW.shape[:2])
        ahead = self.compare(blocks_BNCHW, self.forward_gru)
        back = self.compare(blocks_BNCHW.flip(1), self.backward_gru)
        return {
            "loss": ahead["loss"] + back["loss"],
            "chance_loss": -2 * ahead["chance"].log(),
            "top1": (ahead["top1"] + back["top1"]) / 2,
            "chance": ahead["chance"],
        }

    def compare(self, blocks_BNCHW: Tensor, gru: ConvGRU) -> dict[str, Tensor]:
        """Predicts the last blocks from those before them. Gradients flow into the targets too."""
        seen_BNCHW, target_BNCHW = blocks_BNCHW.tensor_split([-self.pred_steps], dim=1)
        return find_among_all(predict_ahead(gru, self.memory, F.relu(seen_BNCHW), self.pred_steps), target_BNCHW)


class Memory(nn.Module):
    """Turns a state into a prediction: a mixture of learned vectors, which the state chooses at every place."""

    def __init__(self) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(SLOTS, CHANNELS))
        self.choose = nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 1), nn.ReLU(), nn.Conv2d(CHANNELS, SLOTS, 1))
        start_small(self.choose)

    def forward(self, state_BCHW: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return torch.einsum("bshw,sc->bchw", self.choose(state_BCHW).softmax(dim=1), self.slots)


def start_small(part: nn.Module) -> None:
    """Orthogonal weights of gain 0.1, biases 0."""
    for name, parameter in part.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.orthogonal_(parameter, INIT_GAIN)
