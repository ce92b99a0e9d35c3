"""3-D ResNets built from torchvision's blocks (specs/ctp.md 2, specs/cstp.md 2.2, specs/concepts.md 3.1)."""

import math
from collections.abc import Callable, Sequence

from torch import nn
from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv2Plus1D, Conv3DSimple, R2Plus1dStem
from torchvision.ops import Conv3dNormActivation

from nets.backbones.base import Backbone, Stride
from nets.init import init_kaiming

UNIT: Stride = (1, 1, 1)
residual_block: Callable[..., nn.Module] = BasicBlock  # torchvision says `stride: int`, but hands any on to `conv`


def projection(in_channels: int, out_channels: int, stride: Stride) -> nn.Sequential:
    """Build the standard shortcut of a block that changes the shape: a 1x1x1 convolution."""
    return Conv3dNormActivation(in_channels, out_channels, 1, stride, activation_layer=None)


def factorized_projection(in_channels: int, out_channels: int, stride: Stride) -> nn.Sequential:
    """Build CSTP's shortcut: two 1x1x1 convolutions, the first strided in space, the second in time."""
    t, h, w = stride
    mid_channels = in_channels * out_channels // (in_channels + out_channels)
    return nn.Sequential(
        *Conv3dNormActivation(in_channels, mid_channels, 1, (1, h, w)),
        *Conv3dNormActivation(mid_channels, out_channels, 1, (t, 1, 1), activation_layer=None),
    )


class ResNet3d(Backbone):
    """A stem, then residual stages; no pooling, no classifier.

    Modules are named as in torchvision's video ResNets (`stem`, `layer1`, ...), so their weights load.
    """

    def __init__(
        self,
        stem: nn.Sequential,
        convs: Sequence[type[nn.Module]],
        strides: Sequence[Stride],
        *,
        widths: Sequence[int] = (64, 128, 256, 512),
        blocks: Sequence[int] = (2, 2, 2, 2),
        shortcut: Callable[[int, int, Stride], nn.Module] = projection,
        eps: float = 1e-5,
    ) -> None:
        """Build the network from random weights.

        Args:
            stem: a flat sequence of layers that ends with `widths[0]` channels.
            convs: of each stage, called as conv(in_channels, out_channels, mid_channels, stride).
            strides, widths, blocks: of each stage; its first block applies the stride.
            shortcut: makes the shortcut of blocks that change the shape.
            eps: of all batch norms; 1e-3 in CtP's code, PyTorch's default elsewhere.
        """
        super().__init__()
        self.stem = stem
        channels = widths[0]
        stages = zip(convs, strides, widths, blocks, strict=True)
        for number, (conv, stride, width, count) in enumerate(stages, start=1):
            reshapes = stride != UNIT or channels != width
            projected = shortcut(channels, width, stride) if reshapes else None
            first = residual_block(channels, width, conv, stride, projected)
            rest = [residual_block(width, width, conv, UNIT) for _ in range(count - 1)]
            self.add_module(f"layer{number}", nn.Sequential(first, *rest))
            channels = width

        stem_strides = [layer.stride for layer in stem if isinstance(layer, nn.Conv3d | nn.MaxPool3d)]
        self.out_channels = channels
        self.stride = tuple(math.prod(axis) for axis in zip(*stem_strides, *strides, strict=True))

        init_kaiming(self)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = eps

    def layers(self) -> list[list[str]]:
        return [[name] for name, _ in self.named_children()]


class FactorizedConv(Conv2Plus1D):
    """torchvision's spatial, then temporal convolution, with a stride for each axis."""

    def __init__(self, in_channels: int, out_channels: int, mid_channels: int, stride: Stride = UNIT) -> None:
        super().__init__(in_channels, out_channels, mid_channels)
        t, h, w = stride
        spatial, temporal = self[0], self[3]
        assert isinstance(spatial, nn.Conv3d)
        assert isinstance(temporal, nn.Conv3d)
        spatial.stride, temporal.stride = (1, h, w), (t, 1, 1)


class BalancedConv(FactorizedConv):
    """A factorized convolution with about as many parameters as the 3x3x3 one that it replaces.

    `mid_channels` is computed from its own channels, as in CtP's and CSTP's code. torchvision computes it from those
    of the block's first convolution; that value is ignored.
    """

    def __init__(self, in_channels: int, out_channels: int, _: int, stride: Stride = UNIT) -> None:
        mid_channels = 27 * in_channels * out_channels // (9 * in_channels + 3 * out_channels)
        super().__init__(in_channels, out_channels, mid_channels, stride)


def r3d18(strides: Sequence[Stride], *, eps: float) -> ResNet3d:
    """Build an R3D-18: CtP's with an `eps` of 1e-3, torchvision's with 1e-5."""
    return ResNet3d(BasicStem(), 4 * [Conv3DSimple], strides, eps=eps)


def r2plus1d18(strides: Sequence[Stride]) -> ResNet3d:
    """Build CtP's R(2+1)D-18."""
    return ResNet3d(R2Plus1dStem(), 4 * [BalancedConv], strides, eps=1e-3)


def torchvision_r2plus1d(strides: Sequence[Stride], *, blocks: Sequence[int]) -> ResNet3d:
    """Build torchvision's R(2+1)D, with its own eps and `mid_channels`; Concepts takes one block per stage."""
    return ResNet3d(R2Plus1dStem(), 4 * [FactorizedConv], strides, blocks=blocks)


def r2plus1d10_cstp(strides: Sequence[Stride]) -> ResNet3d:
    """Build CSTP's R(2+1)D-10, whose stem and shortcuts are factorized too."""
    stem = nn.Sequential(
        *Conv3dNormActivation(3, 83, (1, 7, 7), (1, 2, 2)),
        *Conv3dNormActivation(83, 64, (3, 1, 1)),
    )
    return ResNet3d(stem, 4 * [BalancedConv], strides, blocks=(1, 1, 1, 1), shortcut=factorized_projection)


def resnet3d(strides: Sequence[Stride], *, blocks: Sequence[int]) -> ResNet3d:
    """Build CSTP's 3D-ResNet; its 7-frame stem downsamples space by 4 and time by 2."""
    stem = nn.Sequential(*Conv3dNormActivation(3, 64, 7, (1, 2, 2)), nn.MaxPool3d(3, stride=(2, 2, 2), padding=1))
    return ResNet3d(stem, 4 * [Conv3DSimple], strides, blocks=blocks)


def r3d_tiny(strides: Sequence[Stride]) -> ResNet3d:
    """Build a small R3D for CPUs, with the output resolution of R3D-18.

    It has no second stage; the stem applies its stride. Among networks with about 0.3 GMAC per clip, these widths had
    the fastest training step on a CPU.
    """
    first, (t, h, w), third, fourth = strides
    stem = Conv3dNormActivation(3, 16, (3, 7, 7), (t, 2 * h, 2 * w))
    strides = (first, third, fourth)
    return ResNet3d(stem, 3 * [Conv3DSimple], strides, widths=(16, 48, 64), blocks=(1, 1, 1), eps=1e-3)
