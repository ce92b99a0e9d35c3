"""Inception networks for video made of torchvision's S3D: S3D-G and I3D (specs/cstp.md 2.2)."""

import math

from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.models.video.s3d import S3D, SepInceptionBlock3D
from torchvision.ops import Conv3dNormActivation

from nets.backbones.base import Backbone, Stride
from nets.backbones.resnet import init_convolutions


class S3DG(Backbone):
    """S3D with a gate after each branch of its inception blocks (arXiv 1712.04851).

    Its last max-pool leaves out an odd last frame, row or column: 112 pixels give 3 cells, not ceil(112 / 32) = 4.
    """

    out_channels = 1024
    stride = (8, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.features = S3D(norm_layer=nn.BatchNorm3d).features
        for block in self.features:
            if isinstance(block, SepInceptionBlock3D):
                for branch in block.children():
                    *_, last = (part for part in branch.modules() if isinstance(part, nn.Conv3d))
                    branch.append(Gate(last.out_channels))
        init_convolutions(self)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        return self.features(clips_BCTHW)


class Gate(nn.Module):
    """Scales each channel by a factor in 0..1 that depends on the means of all channels over the clip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, features_BCTHW: Tensor) -> Tensor:
        factors_BC = self.fc(features_BCTHW.mean(dim=(2, 3, 4))).sigmoid()
        return features_BCTHW * factors_BC[:, :, None, None, None]


class I3D(Backbone):
    """S3D as it was before its convolutions were factorised, padded as in TensorFlow (arXiv 1705.07750)."""

    out_channels = 1024
    stride = (8, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.features = S3D(norm_layer=nn.BatchNorm3d).features
        stem = Conv3dNormActivation(3, 64, 7, 2, padding=0)
        self.features[0] = nn.Sequential(SamePadding((7, 7, 7), (2, 2, 2)), stem)
        self.features[3] = Conv3dNormActivation(64, 192)
        for number, part in enumerate(self.features):
            if isinstance(part, nn.MaxPool3d):
                window, step = part.kernel_size, part.stride
                assert isinstance(window, tuple)
                assert isinstance(step, tuple)
                self.features[number] = nn.Sequential(SamePadding(window, step), nn.MaxPool3d(window, step))
            elif isinstance(part, SepInceptionBlock3D):
                for branch in (part.branch1, part.branch2):
                    first, separable = branch
                    branch[1] = Conv3dNormActivation(first.out_channels, separable[-1].out_channels)
        init_convolutions(self)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        return self.features(clips_BCTHW)


class SamePadding(nn.Module):
    """Adds the zeros with which an unpadded layer makes ceil(n / stride) cells of n; an odd one goes to the end.

    Before a max-pool zeros are as good as nothing: what is pooled has been through a ReLU.
    """

    def __init__(self, kernel_size: Stride, stride: Stride) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, features_BCTHW: Tensor) -> Tensor:
        widths: list[int] = []  # of the last axis first
        for n, k, s in zip(features_BCTHW.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            zeros = max((math.ceil(n / s) - 1) * s + k - n, 0)
            widths += [zeros // 2, zeros - zeros // 2]
        return pad(features_BCTHW, widths)
