"""2D3D-ResNet18: convolutions over time in the last two stages only, as in DPC (specs/cpc_transformer.md 9)."""

from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, Conv3DNoTemporal, Conv3DSimple

from nets.backbones.base import Backbone


class R2D3D(Backbone):
    """Stages 1 and 2 are two-dimensional; stages 3 and 4 halve time too. The last block ends without ReLU.

    Batch normalization keeps running statistics, which the original has downstream only; in training, nothing
    reads them.
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
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, 256, ceil(T / 4), ceil(H / 32), ceil(W / 32))."""
        features = clips_BCTHW
        for part in self.children():
            features = part(features)
        return features


def _stage(conv: type[nn.Conv3d], channels: int, width: int, *, stride: int) -> nn.Sequential:
    """Two residual blocks, of which the first one strides."""
    shortcut = None
    if stride > 1:
        over = conv.get_downsample_stride(stride)  # type: ignore[attr-defined]
        projection = nn.Conv3d(channels, width, kernel_size=1, stride=over, bias=False)
        shortcut = nn.Sequential(projection, nn.BatchNorm3d(width))
    return nn.Sequential(BasicBlock(channels, width, conv, stride, shortcut), BasicBlock(width, width, conv))
