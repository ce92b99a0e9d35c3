"""A 2-D ResNet for each frame, a Transformer over all positions of all frames, a ConvGRU over time."""

import sys
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from nets.backbones.base import Backbone
from nets.conv_gru import ConvGRU
from nets.init import init_kaiming, init_orthogonal


class FrameTransformer(Backbone):
    """The network of CPC with a Transformer (specs/cpc_transformer.md 3.1 to 3.5).

    Features are the final state of the GRU, (B, C, 1, H', W') for any number of frames. Pretraining calls `encode`
    and `attend` itself. There is no positional encoding.
    """

    def __init__(self, *, widths: Sequence[int], blocks: int, feedforward: int, relu: bool = False) -> None:
        """Build the three parts from random weights.

        Args:
            widths: channels of each ResNet stage; every stage but the first halves the resolution.
            blocks: residual blocks in each stage.
            feedforward: hidden width of the Transformer's MLPs.
            relu: put a ReLU between ResNet and Transformer, as the original does for finetuning only.
        """
        super().__init__()
        self.resnet = frame_resnet(widths, blocks)
        if relu:
            self.resnet.add_module("last_relu", nn.ReLU())
        self.out_channels = channels = widths[-1]
        self.stride = (sys.maxsize, *[2 ** (len(widths) + 1)] * 2)  # one output for all frames, however many
        self.transformer = transformer(channels, feedforward)
        self.gru = ConvGRU(channels)

    def encode(self, clips_BCTHW: Tensor) -> Tensor:
        """Encode each frame separately: clips (B, 3, T, H, W) -> maps (B, T, C, H', W')."""
        frames_NCHW = clips_BCTHW.movedim(2, 1).flatten(0, 1)
        maps_BTCHW: Tensor = self.resnet(frames_NCHW).unflatten(0, (-1, clips_BCTHW.shape[2]))
        return maps_BTCHW

    def attend(self, maps_BTCHW: Tensor) -> Tensor:
        """Let every position of every frame attend to all others; keeps the shape (B, T, C, H', W')."""
        *_, height, width = maps_BTCHW.shape
        tokens_BNC = self.transformer(maps_BTCHW.movedim(2, -1).flatten(1, 3))
        attended_BTHWC: Tensor = tokens_BNC.unflatten(1, (-1, height, width))
        return attended_BTHWC.movedim(-1, 2)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """Map (B, 3, T, H, W) to (B, out_channels, 1, H', W')."""
        return self.gru.final_state(F.relu(self.attend(self.encode(clips_BCTHW)))).unsqueeze(2)


class BasicBlockNoReLU(BasicBlock):
    """torchvision's BasicBlock without its last ReLU."""

    def forward(self, x: Tensor) -> Tensor:
        shortcut: Tensor = x if self.downsample is None else self.downsample(x)
        residual: Tensor = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return residual + shortcut


def frame_resnet(widths: Sequence[int], blocks: int) -> nn.Sequential:
    """Build torchvision's ResNet without pooling, classifier and last ReLU.

    (N, 3, H, W) -> (N, widths[-1], H', W').
    """
    resnet = nn.Sequential()
    resnet.add_module("conv1", nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False))
    resnet.add_module("bn1", nn.BatchNorm2d(widths[0]))
    resnet.add_module("relu", nn.ReLU(inplace=True))
    resnet.add_module("maxpool", nn.MaxPool2d(3, stride=2, padding=1))
    channels = widths[0]
    for number, width in enumerate(widths, start=1):
        stage = nn.Sequential()
        for block in range(blocks):
            stride = 2 if block == 0 and number > 1 else 1
            is_last = (number, block) == (len(widths), blocks - 1)
            kind = BasicBlockNoReLU if is_last else BasicBlock
            shortcut = None
            if stride > 1:
                projection = nn.Conv2d(channels, width, kernel_size=1, stride=stride, bias=False)
                shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))
            stage.append(kind(channels, width, stride, shortcut))
            channels = width
        resnet.add_module(f"layer{number}", stage)
    init_kaiming(resnet)
    return resnet


def transformer(channels: int, feedforward: int) -> nn.TransformerEncoder:
    """Build two pre-norm layers of four heads with a final norm; dropout 0.1, orthogonal weights.

    The original's layer norm divides by the unbiased standard deviation plus 1e-6. PyTorch's output is larger by a
    factor of sqrt(C / (C - 1)), 1.002 for 256 channels.
    """
    layer = nn.TransformerEncoderLayer(
        channels, 4, feedforward, dropout=0.1, layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    norm = nn.LayerNorm(channels, eps=1e-6)
    encoder = nn.TransformerEncoder(layer, num_layers=2, norm=norm, enable_nested_tensor=False)
    init_orthogonal(encoder)
    return encoder
