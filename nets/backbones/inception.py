"""S3D-G and I3D, built from torchvision's S3D (specs/cstp.md 2.2)."""

import math

from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision.models.video.s3d import S3D, SepInceptionBlock3D
from torchvision.ops import Conv3dNormActivation

from nets.backbones.base import Backbone, Stride
from nets.init import init_kaiming


def convolutions(network: nn.Module) -> list[nn.Conv3d]:
    """List the convolutions of a network in order."""
    return [module for module in network.modules() if isinstance(module, nn.Conv3d)]


class S3DG(Backbone):
    """S3D with self-gating after each branch of its inception blocks (arXiv 1712.04851).

    Its last max-pool drops an odd last frame, row or column: 112 pixels give 3 columns, not ceil(112 / 32) = 4.
    """

    out_channels = 1024
    stride = (8, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.features = S3D(norm_layer=nn.BatchNorm3d).features
        for block in self.features:
            if isinstance(block, SepInceptionBlock3D):
                for branch in block.children():
                    assert isinstance(branch, nn.Sequential)
                    *_, last = convolutions(branch)
                    branch.append(SelfGating(last.out_channels))
        init_kaiming(self)


class SelfGating(nn.Module):
    """Scale each channel by a sigmoid of a linear layer on the mean of all channels over the clip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Linear(channels, channels)

    def forward(self, features_BCTHW: Tensor) -> Tensor:
        gates_BC: Tensor = self.fc(features_BCTHW.mean(dim=(2, 3, 4))).sigmoid()
        return features_BCTHW * gates_BC[:, :, None, None, None]


class I3D(Backbone):
    """S3D with 3x3x3 instead of separable convolutions, padded as in TensorFlow (arXiv 1705.07750)."""

    out_channels = 1024
    stride = (8, 32, 32)

    def __init__(self) -> None:
        super().__init__()
        self.features = S3D(norm_layer=nn.BatchNorm3d).features
        stem = Conv3dNormActivation(3, 64, 7, 2, padding=0)
        self.features[0] = nn.Sequential(SamePadding((7, 7, 7), (2, 2, 2)), stem)
        self.features[3] = Conv3dNormActivation(64, 192)
        for number, layer in enumerate(self.features):
            if isinstance(layer, nn.MaxPool3d):
                kernel_size, stride = layer.kernel_size, layer.stride
                assert isinstance(kernel_size, tuple)
                assert isinstance(stride, tuple)
                pool = nn.MaxPool3d(kernel_size, stride)
                self.features[number] = nn.Sequential(SamePadding(kernel_size, stride), pool)
            elif isinstance(layer, SepInceptionBlock3D):
                for branch in (layer.branch1, layer.branch2):
                    first, *_, last = convolutions(branch)
                    branch[1] = Conv3dNormActivation(first.out_channels, last.out_channels)
        init_kaiming(self)


class SamePadding(nn.Module):
    """Pad with zeros as TensorFlow's SAME does: n -> ceil(n / stride), an odd zero at the end.

    Zeros do not change a max-pool here: its inputs come from a ReLU.
    """

    def __init__(self, kernel_size: Stride, stride: Stride) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride

    def forward(self, features_BCTHW: Tensor) -> Tensor:
        padding: list[int] = []  # last axis first
        for n, k, s in zip(features_BCTHW.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1], strict=True):
            zeros = max((math.ceil(n / s) - 1) * s + k - n, 0)
            padding += [zeros // 2, zeros - zeros // 2]
        return pad(features_BCTHW, padding)
