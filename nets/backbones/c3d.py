"""C3D with batch normalization (specs/cstp.md 2.2)."""

from torch import nn
from torchvision.ops import Conv3dNormActivation

from nets.backbones.base import Backbone
from nets.init import init_kaiming


class C3D(Backbone):
    """Eight 3x3x3 convolutions, each with a bias, batch norm and ReLU, and max-pooling in between."""

    out_channels = 512
    stride = (8, 16, 16)

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _conv(3, 64),
            _pool(1),
            _conv(64, 128),
            _pool(2),
            _conv(128, 256),
            _conv(256, 256),
            _pool(2),
            _conv(256, 512),
            _conv(512, 512),
            _pool(2),
            _conv(512, 512),
            _conv(512, 512),
        )
        init_kaiming(self)


def _conv(in_channels: int, out_channels: int) -> nn.Module:
    return Conv3dNormActivation(in_channels, out_channels, bias=True)


def _pool(frames: int) -> nn.Module:
    """Pool 2x2 pixels of `frames` frames.

    Rounding up changes nothing at the original's 16 x 112 x 112, and keeps the last frames of other lengths.
    """
    return nn.MaxPool3d((frames, 2, 2), ceil_mode=True)
