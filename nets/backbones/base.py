"""The interface of every backbone."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

Stride = tuple[int, int, int]  # (time, height, width)


class Backbone(nn.Module):
    """Map clips (B, 3, T, H, W) to features (B, out_channels, T', H', W'), without pooling or classifier.

    The children run in order. `stride` is the downsampling in frames, rows and columns: T' = ceil(T / stride[0]), and
    so on. S3D-G rounds down instead.
    """

    out_channels: int
    stride: Stride

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        features = clips_BCTHW
        for stage in self.children():
            features = stage(features)
        return features

    if TYPE_CHECKING:  # nn.Module's returns Any

        def __call__(self, clips_BCTHW: Tensor) -> Tensor: ...
