"""The interface of every backbone."""

from typing import TYPE_CHECKING

from torch import Tensor, nn

from configs.errors import UserError

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

    def layers(self) -> list[list[str]]:
        """List the layers in order from the input, each as the names of its modules and parameters.

        `optim.layer_decay` uses them. A backbone without such an order has none.
        """
        return []

    def set_drop_path(self, rate: float) -> None:
        """Set the rate of stochastic depth; UserError if no block can be skipped."""
        raise UserError(
            f"net.drop_path = {rate}: {type(self).__name__} has no stochastic depth; set it to 0 or choose a backbone "
            "with a set_drop_path of its own, such as a vision transformer"
        )

    if TYPE_CHECKING:  # nn.Module's returns Any

        def __call__(self, clips_BCTHW: Tensor) -> Tensor: ...
