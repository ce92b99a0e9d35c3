"""2D3D-ResNet18: convolutions over time in the last two stages only, as in DPC (specs/cpc_transformer.md 9)."""

from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, Conv3DNoTemporal, Conv3DSimple

from nets.backbones.base import Backbone
from nets.init import init_kaiming


class R2D3D(Backbone):
    """2-D convolutions in stages 1 and 2, 3-D ones in 3 and 4; the last block ends without ReLU.

    Batch norm tracks running statistics, which the original does only downstream; training does not read them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(3, 64, kernel_size=(1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool3d(kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
        )
        self.layer1 = _stage(Conv3DNoTemporal, 64, 64, stride=1)
        self.layer2 = _stage(Conv3DNoTemporal, 64, 128, stride=2)
        self.layer3 = _stage(Conv3DSimple, 128, 256, stride=2)
        self.layer4 = _stage(Conv3DSimple, 256, 256, stride=2)
        self.layer4[-1].relu = nn.Identity()
        self.out_channels, self.stride = 256, (4, 32, 32)
        init_kaiming(self)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Map (B, 3, T, H, W) to (B, 256, ceil(T / 4), ceil(H / 32), ceil(W / 32))."""
        features = clips_BCTHW
        for stage in self.children():
            features = stage(features)
        return features


def _stage(conv: type[Conv3DNoTemporal | Conv3DSimple], channels: int, width: int, *, stride: int) -> nn.Sequential:
    """Build two residual blocks; the first one applies the stride."""
    shortcut = None
    if stride > 1:
        stride_THW = conv.get_downsample_stride(stride)
        projection = nn.Conv3d(channels, width, kernel_size=1, stride=stride_THW, bias=False)
        shortcut = nn.Sequential(projection, nn.BatchNorm3d(width))
    return nn.Sequential(BasicBlock(channels, width, conv, stride, shortcut), BasicBlock(width, width, conv))
