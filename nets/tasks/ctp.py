"""Catch-the-Patch: predict where pasted patches move, from the clip and their boxes in frame 0.

Wang et al., "Unsupervised Visual Representation Learning by Tracking Patches in Video", CVPR 2021,
arXiv 2105.02545; numbers are those of its code. Boxes are (x1, y1, x2, y2) in pixels of the crop.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert, roi_align

from configs.errors import require
from nets import backbones
from nets.tasks import Pretext, Schema

SPATIAL_STRIDES = (1, 2, 2, 1)  # the last stage keeps its resolution: a cell of the features is 8x8 pixels
METRIC = "iou"
ROI_CELLS = 5  # RoIAlign turns every box into 5x5 cells


@dataclass(frozen=True)
class Config:
    """Options of the network side; the defaults are those of the paper's code."""

    hidden: int = 512
    """Width of the layer between RoIAlign and the prediction."""
    std: tuple[float, float, float, float] = (0.8, 0.8, 0.04, 0.04)
    """One unit of the prediction: pixels for the center's x and y, log ratio for width and height."""
    init_std: float = 0.001
    """Standard deviation of the two linear layers' first weights. A short run needs more: the original's value
    keeps a small network at the loss of no motion for its first hundreds of steps."""

    def __post_init__(self) -> None:
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")
        require(min(self.std) > 0, "std", list(self.std), "greater than 0")
        require(self.init_std > 0, "init_std", self.init_std, "greater than 0")


def build(backbone: str, schema: Schema, cfg: Config) -> "CatchThePatch":
    """Makes the network for `boxes` of the given schema. Raises UserError for an unknown backbone."""
    _, num_frames, _ = schema["boxes"][0]
    return CatchThePatch(backbones.create(backbone, spatial_strides=SPATIAL_STRIDES), num_frames, cfg)


class CatchThePatch(Pretext):
    """Backbone, trajectory head and loss."""

    std: Tensor

    def __init__(self, backbone: backbones.Backbone, num_frames: int, cfg: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = TrajectoryHead(backbone, num_frames, cfg)
        self.register_buffer("std", torch.tensor(cfg.std), persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`clips` (B, 3, T, H, W) and `boxes` (B, R, T, 4) -> scalars; only `loss` carries a gradient.

        `loss_center` and `loss_size` are its two terms. `zero_loss` is the loss of predicting no motion for
        this batch: what any run must beat. `iou` is the mean overlap of predicted and true boxes, frame 0
        included, where no motion is right; `chance` is that of predicting no motion.
        """
        boxes_BRT4 = batch["boxes"].float()
        queries_BR4 = boxes_BRT4[:, :, 0]
        prediction_BRT4 = self.head(self.backbone(batch["clips"]), queries_BR4).float()

        target_BRT4 = encode(boxes_BRT4, self.std)
        loss_center, loss_size = trajectory_loss(prediction_BRT4, target_BRT4)
        with torch.no_grad():
            zero_loss = trajectory_loss(torch.zeros_like(target_BRT4), target_BRT4).sum()
            iou = paired_iou(decode(prediction_BRT4, queries_BR4, self.std), boxes_BRT4).mean()
            chance = paired_iou(queries_BR4[:, :, None].expand_as(boxes_BRT4), boxes_BRT4).mean()
        return {
            "loss": loss_center + loss_size,
            "loss_center": loss_center.detach(),
            "loss_size": loss_size.detach(),
            "zero_loss": zero_loss,
            "iou": iou,
            "chance": chance,
        }


class TrajectoryHead(nn.Module):
    """A convolution over all of the features' time, RoIAlign on the boxes of frame 0, two linear layers."""

    def __init__(self, backbone: backbones.Backbone, num_frames: int, cfg: Config) -> None:
        super().__init__()
        channels = backbone.out_channels
        self.spatial_scale = 1 / backbone.stride[1]
        self.num_frames = num_frames
        feature_frames = math.ceil(num_frames / backbone.stride[0])
        self.temporal_conv = nn.Conv3d(channels, channels, kernel_size=(feature_frames, 1, 1))
        self.fc = nn.Linear(channels * ROI_CELLS**2, cfg.hidden)
        self.predict = nn.Linear(cfg.hidden, num_frames * 4)

        nn.init.kaiming_normal_(self.temporal_conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, std=cfg.init_std)
        nn.init.normal_(self.predict.weight, std=cfg.init_std)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, features_BCTHW: Tensor, queries_BR4: Tensor) -> Tensor:
        """Features of the clips and boxes of frame 0 -> offsets (B, R, T, 4), in the units of `encode`."""
        maps_BCHW = F.relu(self.temporal_conv(features_BCTHW).squeeze(2))
        batch_size, num_boxes, _ = queries_BR4.shape
        clip_index = torch.arange(batch_size, device=queries_BR4.device).repeat_interleave(num_boxes)
        rois = torch.cat([clip_index[:, None], queries_BR4.flatten(0, 1)], dim=1)
        # float32 under autocast too: bfloat16 does not hold the boxes' coordinates.
        cells = roi_align(maps_BCHW.float(), rois, ROI_CELLS, self.spatial_scale, sampling_ratio=2, aligned=True)
        offsets = self.predict(F.relu(self.fc(cells.flatten(1))))
        return offsets.view(batch_size, num_boxes, self.num_frames, 4)


def encode(boxes_T4: Tensor, std: Tensor) -> Tensor:
    """Boxes (..., T, 4) -> change of center and log size since frame 0, in units of `std` (..., T, 4)."""
    place = _place(boxes_T4)
    return (place - place[..., :1, :]) / std


def decode(offsets_T4: Tensor, queries_4: Tensor, std: Tensor) -> Tensor:
    """Undoes `encode`: offsets (..., T, 4) and boxes of frame 0 (..., 4) -> boxes (..., T, 4)."""
    center, log_size = (_place(queries_4)[..., None, :] + offsets_T4 * std).split(2, dim=-1)
    return box_convert(torch.cat([center, log_size.exp()], dim=-1), "cxcywh", "xyxy")


def _place(boxes: Tensor) -> Tensor:
    """(..., 4) boxes -> center x, y and log of width, height; a side shorter than a pixel counts as one."""
    center, size = box_convert(boxes, "xyxy", "cxcywh").split(2, dim=-1)
    return torch.cat([center, size.clamp(min=1).log()], dim=-1)


def trajectory_loss(prediction_BRT4: Tensor, target_BRT4: Tensor) -> Tensor:
    """Smooth L1, beta 1, mean over the boxes, summed over the two coordinates of (center, size): (2,)."""
    loss_4 = F.smooth_l1_loss(prediction_BRT4, target_BRT4, reduction="none").mean(dim=(0, 1, 2))
    return loss_4.view(2, 2).sum(dim=1)


def paired_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Intersection over union of each box (..., 4) with its counterpart: (...)."""
    top_left = torch.maximum(boxes_a[..., :2], boxes_b[..., :2])
    bottom_right = torch.minimum(boxes_a[..., 2:], boxes_b[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    area_a, area_b = ((boxes[..., 2:] - boxes[..., :2]).prod(dim=-1) for boxes in (boxes_a, boxes_b))
    return intersection / (area_a + area_b - intersection)
