"""What every backbone is."""

from torch import nn

Stride = tuple[int, int, int]  # (time, height, width)


class Backbone(nn.Module):
    """Maps clips (B, 3, T, H, W) to features (B, out_channels, T', H', W'), without pooling or classifier.

    One cell of the features spans `stride` frames, rows and columns: T' = ceil(T / stride[0]), and so on. S3D-G rounds
    down instead.
    """

    out_channels: int
    stride: Stride
