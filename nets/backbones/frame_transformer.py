"""A 2-D ResNet for each frame, a Transformer over all places of all frames, a recurrent unit over time."""

import sys
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from nets.backbones.base import Backbone
from nets.conv_gru import ConvGRU


class FrameTransformer(Backbone):
    """The network of CPC with a Transformer (specs/cpc_transformer.md 3.1 to 3.5).

    Features are the last state of the recurrent unit, (B, C, 1, H', W') for any number of frames. Pretraining uses
    the parts. There is no positional encoding: a token knows its place and time by its content alone.
    """

    def __init__(self, *, widths: Sequence[int], blocks: int, feedforward: int, relu: bool = False) -> None:
        """`widths` has one entry a stage of `blocks` blocks; every stage but the first halves the resolution.

        `relu` puts one between ResNet and Transformer, as the original does for fine-tuning but not in pretraining.
        """
        super().__init__()
        self.resnet = frame_resnet(widths, blocks)
        if relu:
            self.resnet.add_module("last_relu", nn.ReLU())
        self.out_channels = channels = widths[-1]
        self.stride = (sys.maxsize, *[2 ** (len(widths) + 1)] * 2)  # a cell spans all frames, however many
        self.transformer = transformer(channels, feedforward)
        self.gru = ConvGRU(channels)

    def encode(self, clips_BCTHW: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) -> maps (B, T, C, H', W'), each from its frame alone."""
        frames_NCHW = clips_BCTHW.movedim(2, 1).flatten(0, 1)
        return self.resnet(frames_NCHW).unflatten(0, (-1, clips_BCTHW.shape[2]))

    def attend(self, maps_BTCHW: Tensor) -> Tensor:
        """Maps -> maps of the same shape; every place of every frame given here attends to every other."""
        *_, height, width = maps_BTCHW.shape
        tokens_BNC = maps_BTCHW.movedim(2, -1).flatten(1, 3)
        return self.transformer(tokens_BNC).unflatten(1, (-1, height, width)).movedim(-1, 2)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        """(B, 3, T, H, W) -> (B, out_channels, 1, H', W')."""
        return self.gru.roll(F.relu(self.attend(self.encode(clips_BCTHW)))).unsqueeze(2)


class LinearEnd(BasicBlock):
    """A residual block without the ReLU at its end."""

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.downsample is None else self.downsample(x)
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))) + residual


def frame_resnet(widths: Sequence[int], blocks: int) -> nn.Sequential:
    """A ResNet like torchvision's, without pooling, classifier and last ReLU: (N, 3, H, W) -> (N, C, H', W')."""
    resnet = nn.Sequential()
    resnet.add_module("conv1", nn.Conv2d(3, widths[0], 7, stride=2, padding=3, bias=False))
    resnet.add_module("bn1", nn.BatchNorm2d(widths[0]))
    resnet.add_module("relu", nn.ReLU(inplace=True))
    resnet.add_module("maxpool", nn.MaxPool2d(3, stride=2, padding=1))
    channels = widths[0]
    for number, width in enumerate(widths, start=1):
        stage = nn.Sequential()
        for place in range(blocks):
            stride = 2 if place == 0 and number > 1 else 1
            kind = LinearEnd if (number, place) == (len(widths), blocks - 1) else BasicBlock
            shortcut = None
            if stride > 1:
                projection = nn.Conv2d(channels, width, kernel_size=1, stride=stride, bias=False)
                shortcut = nn.Sequential(projection, nn.BatchNorm2d(width))
            stage.append(kind(channels, width, stride, shortcut))
            channels = width
        resnet.add_module(f"layer{number}", stage)
    for module in resnet.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return resnet


def transformer(channels: int, feedforward: int) -> nn.TransformerEncoder:
    """Two layers of four heads, normalized before each part and at the end; dropout 0.1, orthogonal weights.

    The original's own layer normalization divides by the unbiased deviation plus 1e-6. This is the usual one: its
    result is larger by a factor of sqrt(C / (C - 1)), 1.002 for 256 channels.
    """
    layer = nn.TransformerEncoderLayer(
        channels, 4, feedforward, dropout=0.1, layer_norm_eps=1e-6, batch_first=True, norm_first=True
    )
    norm = nn.LayerNorm(channels, eps=1e-6)
    encoder = nn.TransformerEncoder(layer, num_layers=2, norm=norm, enable_nested_tensor=False)
    for name, parameter in encoder.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2:
            # Queries, keys and values share a tensor, and are orthogonal each for itself.
            for matrix in parameter.chunk(3) if "in_proj" in name else [parameter]:
                nn.init.orthogonal_(matrix)
    return encoder


def resnet18_transformer(*, relu: bool = False) -> FrameTransformer:
    return FrameTransformer(widths=(64, 128, 256, 256), blocks=2, feedforward=2048, relu=relu)


def resnet_tiny_transformer() -> FrameTransformer:
    """A small one for CPUs, with three stages: its grid is twice as fine."""
    return FrameTransformer(widths=(16, 32, 64), blocks=1, feedforward=128)
