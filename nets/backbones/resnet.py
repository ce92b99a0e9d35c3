"""Residual 3-D networks made of torchvision's blocks (specs/ctp.md 2, specs/cstp.md 2.2, specs/concepts.md 3.1)."""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv2Plus1D, Conv3DSimple, R2Plus1dStem
from torchvision.ops import Conv3dNormActivation

from nets.backbones.base import Backbone, Stride

UNIT: Stride = (1, 1, 1)


def init_convolutions(network: nn.Module) -> None:
    """Convolutions start from Kaiming's normal distribution (fan out, for ReLU), their biases from 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def projection(in_channels: int, out_channels: int, stride: Stride) -> nn.Sequential:
    """The usual shortcut of a block that changes the shape: a 1x1x1 convolution."""
    return Conv3dNormActivation(in_channels, out_channels, 1, stride, activation_layer=None)


def factorised_projection(in_channels: int, out_channels: int, stride: Stride) -> nn.Sequential:
    """CSTP's shortcut: two 1x1x1 convolutions, the first strides in space, the second in time."""
    t, h, w = stride
    between = in_channels * out_channels // (in_channels + out_channels)
    return nn.Sequential(
        *Conv3dNormActivation(in_channels, between, 1, (1, h, w)),
        *Conv3dNormActivation(between, out_channels, 1, (t, 1, 1), activation_layer=None),
    )


class ResNet3d(Backbone):
    """A stem, then residual stages; no pooling, no classifier.

    Modules are named as in torchvision's video ResNets (`stem`, `layer1`, ...), so their weights load.

    `out_channels` is the width of the features. One cell of them spans `stride` frames, rows and columns.
    """

    def __init__(
        self,
        stem: nn.Sequential,
        conv: type[nn.Module],
        *,
        widths: Sequence[int],
        blocks: Sequence[int],
        strides: Sequence[Stride],
        shortcut: Callable[[int, int, Stride], nn.Module] = projection,
        eps: float = 1e-5,
    ) -> None:
        """`widths`, `blocks` and `strides` have one entry a stage; of a stage's blocks the first one strides.

        `stem` is a plain sequence that ends with `widths[0]` channels. `conv` makes the 3x3x3 convolutions of the
        blocks: conv(in_channels, out_channels, width between its factors, stride); `shortcut` what is added to
        them where the shape changes. `eps` is that of all batch normalization: 1e-3 in CtP's code, else torch's.
        """
        super().__init__()
        self.stem = stem
        channels = widths[0]
        for number, (width, count, stride) in enumerate(zip(widths, blocks, strides, strict=True), start=1):
            changes = stride != UNIT or channels != width
            first = BasicBlock(channels, width, conv, stride, shortcut(channels, width, stride) if changes else None)
            rest = [BasicBlock(width, width, conv, UNIT) for _ in range(count - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            channels = width

        stem_strides = [part.stride for part in stem if isinstance(part, nn.Conv3d | nn.MaxPool3d)]
        self.out_channels = channels
        self.stride = tuple(math.prod(axis) for axis in zip(*stem_strides, *strides, strict=True))

        init_convolutions(self)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = eps

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, out_channels, T', H', W') with T' = ceil(T / stride[0]), and so on."""
        features = clips_BCTHW
        for part in self.children():
            features = part(features)
        return features


class FactorisedConv(Conv2Plus1D):
    """A spatial, then a temporal convolution; torchvision's, with a stride for each axis."""

    def __init__(self, in_channels: int, out_channels: int, between: int, stride: Stride = UNIT) -> None:
        super().__init__(in_channels, out_channels, between)
        t, h, w = stride
        self[0].stride = (1, h, w)
        self[3].stride = (t, 1, 1)


class BalancedConv(FactorisedConv):
    """A factorised convolution with about the parameters of the 3x3x3 one that it replaces.

    The width between its factors follows from its own channels, as in CtP's and CSTP's code. The width that
    torchvision passes in is ignored: it follows from the channels of the block's first convolution.
    """

    def __init__(self, in_channels: int, out_channels: int, _: int, stride: Stride = UNIT) -> None:
        between = 27 * in_channels * out_channels // (9 * in_channels + 3 * out_channels)
        super().__init__(in_channels, out_channels, between, stride)


WIDTHS = (64, 128, 256, 512)


def r3d18(strides: Sequence[Stride]) -> ResNet3d:
    return ResNet3d(BasicStem(), Conv3DSimple, widths=WIDTHS, blocks=(2, 2, 2, 2), strides=strides, eps=1e-3)


def r2plus1d18(strides: Sequence[Stride]) -> ResNet3d:
    return ResNet3d(R2Plus1dStem(), BalancedConv, widths=WIDTHS, blocks=(2, 2, 2, 2), strides=strides, eps=1e-3)


def torchvision_r3d18(strides: Sequence[Stride]) -> ResNet3d:
    """torchvision's r3d_18: CtP's with another eps."""
    return ResNet3d(BasicStem(), Conv3DSimple, widths=WIDTHS, blocks=(2, 2, 2, 2), strides=strides)


def torchvision_r2plus1d18(strides: Sequence[Stride]) -> ResNet3d:
    """torchvision's r2plus1d_18: CtP's with another eps, and other widths between the factors."""
    return ResNet3d(R2Plus1dStem(), FactorisedConv, widths=WIDTHS, blocks=(2, 2, 2, 2), strides=strides)


def r2plus1d10(strides: Sequence[Stride]) -> ResNet3d:
    """Concepts' R(2+1)D: torchvision's with one block a stage."""
    return ResNet3d(R2Plus1dStem(), FactorisedConv, widths=WIDTHS, blocks=(1, 1, 1, 1), strides=strides)


def r2plus1d10_cstp(strides: Sequence[Stride]) -> ResNet3d:
    """CSTP's R(2+1)D: stem and shortcuts are factorised by the rule of the blocks' convolutions."""
    stem = nn.Sequential(
        *Conv3dNormActivation(3, 83, (1, 7, 7), (1, 2, 2)),
        *Conv3dNormActivation(83, 64, (3, 1, 1)),
    )
    blocks = (1, 1, 1, 1)
    return ResNet3d(stem, BalancedConv, widths=WIDTHS, blocks=blocks, strides=strides, shortcut=factorised_projection)


def resnet3d(strides: Sequence[Stride], *, blocks: Sequence[int]) -> ResNet3d:
    """CSTP's 3D-ResNet: its stem looks at 7 frames and halves space twice and time once."""
    stem = nn.Sequential(*Conv3dNormActivation(3, 64, 7, (1, 2, 2)), nn.MaxPool3d(3, stride=(2, 2, 2), padding=1))
    return ResNet3d(stem, Conv3DSimple, widths=WIDTHS, blocks=blocks, strides=strides)


def r3d_tiny(strides: Sequence[Stride]) -> ResNet3d:
    """A small R3D for CPUs: there is no second stage, the stem takes its stride, so the output grid is R3D's.

    The widths are those with the quickest training step on a CPU for about 0.3 GMAC a clip.
    """
    first, (t, h, w), third, fourth = strides
    stem = Conv3dNormActivation(3, 16, (3, 7, 7), (t, 2 * h, 2 * w))
    strides = (first, third, fourth)
    return ResNet3d(stem, Conv3DSimple, widths=(16, 48, 64), blocks=(1, 1, 1), strides=strides, eps=1e-3)
