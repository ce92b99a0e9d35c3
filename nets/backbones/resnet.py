"""Residual 3-D networks made of torchvision's blocks (specs/ctp.md 2)."""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv2Plus1D, Conv3DSimple, R2Plus1dStem

from nets.backbones.base import Backbone, Stride

UNIT: Stride = (1, 1, 1)


class ResNet3d(Backbone):
    """A stem, then residual stages; no pooling, no classifier.

    Modules are named as in torchvision's video ResNets (`stem`, `layer1`, ...), so their weights load.
    As in CtP's code, convolutions start from Kaiming's normal distribution (fan out) and batch normalisation
    has eps 1e-3.

    `out_channels` is the width of the features. One cell of them spans `stride` frames, rows and columns.
    """

    def __init__(
        self,
        stem: nn.Sequential,
        conv: type[nn.Module],
        *,
        widths: Sequence[int],
        blocks: int,
        strides: Sequence[Stride],
    ) -> None:
        """`widths` and `strides` have one entry a stage; of a stage's `blocks` blocks the first one strides.

        `stem` starts with its strided convolution and ends with `widths[0]` channels. `conv` makes the 3x3x3
        convolutions of the blocks: conv(in_channels, out_channels, width between its factors, stride).
        """
        super().__init__()
        self.stem = stem
        channels = widths[0]
        for number, (width, stride) in enumerate(zip(widths, strides, strict=True), start=1):
            first = _block(channels, width, conv, stride)
            rest = [_block(width, width, conv, UNIT) for _ in range(blocks - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            channels = width

        stem_conv = stem[0]
        assert isinstance(stem_conv, nn.Conv3d)
        self.out_channels = channels
        self.stride = tuple(math.prod(axis) for axis in zip(stem_conv.stride, *strides, strict=True))

        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm3d):
                module.eps = 1e-3

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, out_channels, T', H', W') with T' = ceil(T / stride[0]), and so on."""
        features = clips_BCTHW
        for part in self.children():
            features = part(features)
        return features


def _block(in_channels: int, out_channels: int, conv: type[nn.Module], stride: Stride) -> nn.Module:
    """torchvision's residual block; its shortcut is a convolution only where the shape changes."""
    shortcut = None
    if stride != UNIT or in_channels != out_channels:
        projection = nn.Conv3d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)
        shortcut = nn.Sequential(projection, nn.BatchNorm3d(out_channels))
    return BasicBlock(in_channels, out_channels, conv, stride, shortcut)


class FactorisedConv(Conv2Plus1D):
    """A spatial, then a temporal convolution, with about the parameters of the 3x3x3 one that they replace.

    The width between them follows from this convolution's own channels, as in CtP's code. The width that
    torchvision passes in is ignored: it follows from the channels of the block's first convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, _: int, stride: Stride = UNIT) -> None:
        between = 27 * in_channels * out_channels // (9 * in_channels + 3 * out_channels)
        super().__init__(in_channels, out_channels, between)
        t, h, w = stride
        self[0].stride = (1, h, w)
        self[3].stride = (t, 1, 1)


def r3d18(strides: Sequence[Stride]) -> ResNet3d:
    return ResNet3d(BasicStem(), Conv3DSimple, widths=(64, 128, 256, 512), blocks=2, strides=strides)


def r2plus1d18(strides: Sequence[Stride]) -> ResNet3d:
    return ResNet3d(R2Plus1dStem(), FactorisedConv, widths=(64, 128, 256, 512), blocks=2, strides=strides)


def r3d_tiny(strides: Sequence[Stride]) -> ResNet3d:
    """A small R3D for CPUs: there is no second stage, the stem takes its stride, so the output grid is R3D's.

    The widths are those with the quickest training step on a CPU for about 0.3 GMAC a clip.
    """
    first, (t, h, w), third, fourth = strides
    conv = nn.Conv3d(3, 16, kernel_size=(3, 7, 7), stride=(t, 2 * h, 2 * w), padding=(1, 3, 3), bias=False)
    stem = nn.Sequential(conv, nn.BatchNorm3d(16), nn.ReLU(inplace=True))
    return ResNet3d(stem, Conv3DSimple, widths=(16, 48, 64), blocks=1, strides=(first, third, fourth))
