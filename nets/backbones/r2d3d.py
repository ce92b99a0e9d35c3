"""2D3D-ResNets: convolutions over time in the last two stages only, as in DPC (specs/cpc_transformer.md 9)."""

from collections.abc import Sequence

from torch import nn
from torchvision.models.video.resnet import Conv3DNoTemporal, Conv3DSimple
from torchvision.ops import Conv3dNormActivation

from nets.backbones.base import Stride
from nets.backbones.resnet import UNIT, ResNet3d


class SpatialConv(Conv3DNoTemporal):
    """torchvision's 1x3x3 convolution, with a stride for each axis."""

    def __init__(self, in_channels: int, out_channels: int, mid_channels: int, stride: Stride = UNIT) -> None:
        super().__init__(in_channels, out_channels, mid_channels)
        self.stride = stride


def r2d3d(*, blocks: Sequence[int]) -> ResNet3d:
    """Build the network: 2-D convolutions in stages 1 and 2, 3-D ones in 3 and 4, no ReLU at the end.

    Batch norm tracks running statistics, which the original does only downstream; training does not read them.
    """
    pool = nn.MaxPool3d(kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
    stem = nn.Sequential(*Conv3dNormActivation(3, 64, (1, 7, 7), (1, 2, 2)), pool)
    strides = (UNIT, (1, 2, 2), (2, 2, 2), (2, 2, 2))
    convs = (SpatialConv, SpatialConv, Conv3DSimple, Conv3DSimple)
    net = ResNet3d(stem, convs, strides, widths=(64, 128, 256, 256), blocks=blocks)
    net.get_submodule(f"layer4.{blocks[-1] - 1}").relu = nn.Identity()
    return net
