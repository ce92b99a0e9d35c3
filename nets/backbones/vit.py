"""Vision transformers over tubelets, as in VideoMAE (Tong et al., NeurIPS 2022, arXiv 2203.12602).

Built from torchvision's encoder blocks. VideoMAE has no key bias; torchvision's has no effect on the attention and
starts at 0.
"""

import math

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import EncoderBlock
from torchvision.ops import StochasticDepth

from configs.errors import UserError
from nets.backbones.base import Backbone
from nets.init import init_xavier


class ViT(Backbone):
    """Embed tubelets, add their positions, attend among all of them; no class token, no final norm.

    Clips may have any size that `stride` divides. The norm after the last block belongs to the task, as in VideoMAE:
    pretraining and finetuning have different ones.
    """

    def __init__(self, *, width: int, depth: int, heads: int, patch: int = 16, grid_positions: bool = False) -> None:
        """Build the encoder. With `grid_positions` its tokens have a time, a row and a column, not one number."""
        super().__init__()
        self.out_channels = width
        self.stride = (2, patch, patch)
        self.grid_positions = grid_positions
        self.patch_embed = nn.Conv3d(3, width, kernel_size=self.stride, stride=self.stride)
        self.blocks = encoder_blocks(width, depth, heads)

    def forward(self, clips_BCTHW: Tensor) -> Tensor:
        grid = self.grid(clips_BCTHW)
        features_BCTHW: Tensor = self.encode(clips_BCTHW).transpose(1, 2).unflatten(2, grid)
        return features_BCTHW

    def encode(self, clips_BCTHW: Tensor, kept_BK: Tensor | None = None) -> Tensor:
        """Encode the tokens of a clip, (B, K, out_channels); dropped tokens cost nothing after the embedding.

        `kept_BK` are indices of the tokens to keep, int64, in the order of (T', H', W'); None keeps all. UserError if
        the clip does not divide into tubelets.
        """
        self.grid(clips_BCTHW)
        tokens_BNC = self.patch_embed(clips_BCTHW).flatten(2).transpose(1, 2)
        tokens_BNC = tokens_BNC + self.positions(clips_BCTHW, self.out_channels).to(tokens_BNC)
        if kept_BK is not None:
            tokens_BNC = tokens_BNC.take_along_dim(kept_BK[..., None], dim=1)
        encoded_BKC: Tensor = self.blocks(tokens_BNC)
        return encoded_BKC

    def positions(self, clips_BCTHW: Tensor, width: int) -> Tensor:
        """Return the positions of a clip's tokens, float32 (N, width), in the order of (T', H', W').

        VideoMAE numbers the tokens of a clip consecutively and alternates sines and cosines. V-JEPA (arXiv 2404.08471)
        numbers frames, rows and columns; all sines of a number come before its cosines.
        """
        t, h, w = self.grid(clips_BCTHW)
        if not self.grid_positions:
            return sinusoids(t * h * w, width, clips_BCTHW.device).mT.flatten(1)
        third = 2 * math.ceil(width / 6)
        times, rows, columns = (sinusoids(size, third, clips_BCTHW.device).flatten(1) for size in (t, h, w))
        places = [times[:, None, None], rows[None, :, None], columns[None, None]]
        return torch.cat([place.expand(t, h, w, -1) for place in places], dim=3).flatten(0, 2)[:, :width]

    def tokens(self, clips_BCTHW: Tensor, cells_BK: Tensor) -> Tensor:
        """Return the indices of the tokens in some cells of a frame, int64, row by row, at all times: (B, T' * K)."""
        steps, height, width = self.grid(clips_BCTHW)
        first_T1 = height * width * torch.arange(steps, device=cells_BK.device)[:, None]
        return (first_T1 + cells_BK[:, None]).flatten(1)

    def grid(self, clips_BCTHW: Tensor) -> tuple[int, int, int]:
        """Return (T', H', W') of a clip. UserError when it does not divide into tubelets."""
        shape = clips_BCTHW.shape[2:]
        for name, size, step in zip(("frames", "rows", "columns"), shape, self.stride, strict=True):
            if size % step:
                key = "plan.num_frames" if name == "frames" else "plan.size"
                fits = max(step, size // step * step)
                raise UserError(
                    f"a clip of {size} {name} does not divide into tubelets of {step}: set {key} to a multiple of "
                    f"{step}, such as {fits}"
                )
        t, h, w = (size // step for size, step in zip(shape, self.stride, strict=True))
        return t, h, w

    def set_drop_path(self, rate: float) -> None:
        """Drop the blocks' branches per clip in training, with probability 0 in the first block rising to `rate`."""
        last = max(len(self.blocks) - 1, 1)
        for number, block in enumerate(self.blocks):
            for branch in block.modules():
                if isinstance(branch, StochasticDepth):
                    branch.p = rate * number / last

    def layers(self) -> list[list[str]]:
        """List the names of the modules of each layer: the embedding, then each block."""
        return [["patch_embed"], *([f"blocks.{number}"] for number in range(len(self.blocks)))]


def encoder_blocks(width: int, depth: int, heads: int) -> nn.Sequential:
    """Build pre-norm blocks with an MLP of four times the width, initialized as in VideoMAE.

    (B, N, width) before and after.
    """
    blocks = nn.Sequential()
    for _ in range(depth):
        block = EncoderBlock(heads, width, 4 * width, dropout=0.0, attention_dropout=0.0)
        block.add_module("dropout", StochasticDepth(0.0, "row"))  # in place of what drops single channels
        block.mlp.append(StochasticDepth(0.0, "row"))
        blocks.append(block)
    init_xavier(blocks)
    return blocks


def sinusoids(tokens: int, width: int, device: torch.device) -> Tensor:
    """Return the positions of tokens in a row, float32 (tokens, 2, width / 2): sines and cosines.

    "Attention Is All You Need" (arXiv 1706.03762), section 3.5.
    """
    rates_F = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64, device=device) / width)
    angles_NF = torch.arange(tokens, dtype=torch.float64, device=device)[:, None] * rates_F
    return torch.stack([angles_NF.sin(), angles_NF.cos()], dim=1).float()
