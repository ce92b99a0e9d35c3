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

SPATIAL_STRIDES = (1, 2, 2, 1)  # the last stage keeps the resolution: features are downsampled by 8
METRIC = "iou"
ROI_SIZE = 5  # RoIAlign samples each box on a 5x5 grid


@dataclass(frozen=True)
class Config:
    """Options of the network; the defaults are those of the paper's code."""

    hidden: int = 512
    """Width of the hidden layer after RoIAlign."""
    std: tuple[float, float, float, float] = (0.8, 0.8, 0.04, 0.04)
    """Units of the prediction: pixels for the center's x and y, log ratios for width and height."""
    init_std: float = 0.001
    """Standard deviation of the two linear layers' initial weights. Short runs need more: with the original's value, a
    small network predicts no motion for its first hundreds of steps."""

    def __post_init__(self) -> None:
        require(self.hidden >= 1, "hidden", self.hidden, "at least 1")
        require(min(self.std) > 0, "std", list(self.std), "greater than 0")
        require(self.init_std > 0, "init_std", self.init_std, "greater than 0")


def build(backbone: str, schema: Schema, cfg: Config) -> "CatchThePatch":
    """Build the network for `boxes` of the schema; UserError for an unknown backbone."""
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
        """Map `clips` (B, 3, T, H, W) and `boxes` (B, R, T, 4) to scalars.

        `loss` is the sum of `loss_center` and `loss_size`; `zero_loss` is its value for predicting no motion, which a
        useful run must beat. `iou` is the mean IoU of predicted and true boxes, frame 0 included; `chance` is its value
        for predicting no motion.
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
    """A convolution over the whole time axis, RoIAlign on the boxes of frame 0, two linear layers."""

    def __init__(self, backbone: backbones.Backbone, num_frames: int, cfg: Config) -> None:
        super().__init__()
        channels = backbone.out_channels
        self.spatial_scale = 1 / backbone.stride[1]
        self.num_frames = num_frames
        feature_frames = math.ceil(num_frames / backbone.stride[0])
        self.temporal_conv = nn.Conv3d(channels, channels, kernel_size=(feature_frames, 1, 1))
        self.fc = nn.Linear(channels * ROI_SIZE**2, cfg.hidden)
        self.predict = nn.Linear(cfg.hidden, num_frames * 4)

        nn.init.kaiming_normal_(self.temporal_conv.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, std=cfg.init_std)
        nn.init.normal_(self.predict.weight, std=cfg.init_std)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, features_BCTHW: Tensor, queries_BR4: Tensor) -> Tensor:
        """Predict offsets (B, R, T, 4), as `encode` defines them, from features and boxes of frame 0."""
        maps_BCHW = F.relu(self.temporal_conv(features_BCTHW).squeeze(2))
        batch_size, num_boxes, _ = queries_BR4.shape
        clip_index = torch.arange(batch_size, device=queries_BR4.device).repeat_interleave(num_boxes)
        rois = torch.cat([clip_index[:, None], queries_BR4.flatten(0, 1)], dim=1)
        # float32 under autocast too: bfloat16 cannot represent the boxes' coordinates.
        roi_features = roi_align(maps_BCHW.float(), rois, ROI_SIZE, self.spatial_scale, sampling_ratio=2, aligned=True)
        offsets: Tensor = self.predict(F.relu(self.fc(roi_features.flatten(1))))
        return offsets.view(batch_size, num_boxes, self.num_frames, 4)


def encode(boxes_T4: Tensor, std: Tensor) -> Tensor:
    """Encode boxes (..., T, 4) as changes of center and log size since frame 0, divided by `std`."""
    center_size = _center_log_size(boxes_T4)
    return (center_size - center_size[..., :1, :]) / std


def decode(offsets_T4: Tensor, queries_4: Tensor, std: Tensor) -> Tensor:
    """Invert `encode`: offsets (..., T, 4) and boxes of frame 0 (..., 4) give boxes (..., T, 4)."""
    center, log_size = (_center_log_size(queries_4)[..., None, :] + offsets_T4 * std).chunk(2, dim=-1)
    return box_convert(torch.cat([center, log_size.exp()], dim=-1), "cxcywh", "xyxy")


def _center_log_size(boxes: Tensor) -> Tensor:
    """Convert boxes (..., 4) to center x, y and log width, height; sides are at least 1 pixel."""
    center, size = box_convert(boxes, "xyxy", "cxcywh").chunk(2, dim=-1)
    return torch.cat([center, size.clamp(min=1).log()], dim=-1)


def trajectory_loss(prediction_BRT4: Tensor, target_BRT4: Tensor) -> Tensor:
    """Compute smooth L1 (beta 1), mean over boxes, summed over x and y: (2,) for center and size."""
    loss_4 = F.smooth_l1_loss(prediction_BRT4, target_BRT4, reduction="none").mean(dim=(0, 1, 2))
    return loss_4.view(2, 2).sum(dim=1)


def paired_iou(boxes_a: Tensor, boxes_b: Tensor) -> Tensor:
    """Compute the IoU of each box (..., 4) with its counterpart, (...)."""
    top_left = torch.maximum(boxes_a[..., :2], boxes_b[..., :2])
    bottom_right = torch.minimum(boxes_a[..., 2:], boxes_b[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    area_a, area_b = ((boxes[..., 2:] - boxes[..., :2]).prod(dim=-1) for boxes in (boxes_a, boxes_b))
    return intersection / (area_a + area_b - intersection)
