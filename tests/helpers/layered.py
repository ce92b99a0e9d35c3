"""A tiny vision transformer in what finetuning asks of one: layers, and blocks that can be skipped."""

import torch
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from nets.backbones.base import Backbone


class Block(nn.Module):
    """A residual branch of one linear map."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branch, self.drop_path = nn.Linear(width, width), StochasticDepth(0.0, "row")

    def forward(self, tokens_BNC: Tensor) -> Tensor:
        skipped: Tensor = self.drop_path(self.branch(tokens_BNC))
        return tokens_BNC + skipped


class Layered(Backbone):
    """Patches of 2 x 16 x 16 pixels, a learned offset, blocks, a norm."""

    stride = (2, 16, 16)

    def __init__(self, *, width: int = 8, depth: int = 11) -> None:
        super().__init__()
        self.out_channels = width
        self.patch_embed = nn.Conv3d(3, width, self.stride, self.stride)
        self.pos_embed = nn.Parameter(torch.zeros(width))
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        maps_BCTHW: Tensor = self.patch_embed(clips_BCTHW)
        tokens_BNC = maps_BCTHW.flatten(2).mT + self.pos_embed
        for block in self.blocks:
            tokens_BNC = block(tokens_BNC)
        normed_BNC: Tensor = self.norm(tokens_BNC)
        return normed_BNC.mT.unflatten(2, maps_BCTHW.shape[2:])

    def layers(self) -> list[list[str]]:
        return [["patch_embed", "pos_embed"], *([f"blocks.{number}"] for number in range(len(self.blocks)))]

    def set_drop_path(self, rate: float) -> None:
        for number, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            block.drop_path.p = rate * number / (len(self.blocks) - 1)
