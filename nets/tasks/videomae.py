"""VideoMAE: reconstruct the hidden cells of a clip from the visible ones.

Tong et al., "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video Pre-Training",
NeurIPS 2022, arXiv 2203.12602; numbers are those of its code.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nets.backbones.base import Stride
from nets.backbones.vit import ViT, encoder_blocks
from nets.init import init_xavier
from nets.masked import check_blocks, fill_in, vit_of_cells
from nets.tasks import Pretext, Schema

METRIC = "explained"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of R, G and B in 0..1: the clips' normalization."""
EPS = 1e-6


@dataclass(frozen=True)
class Config:
    """Options of the decoder; the defaults are the original's for ViT-B."""

    decoder_width: int = 384
    """Channels of a token in the decoder: half of the encoder's."""
    decoder_depth: int = 4
    """Blocks."""
    decoder_heads: int = 6
    """Attention heads of each."""
    normalize_target: bool = True
    """Predict each cube's pixels normalized by their mean and deviation; false for the colors themselves, 0 to 1."""

    def __post_init__(self) -> None:
        check_blocks("decoder", width=self.decoder_width, depth=self.decoder_depth, heads=self.decoder_heads)


def build(backbone: str, schema: Schema, cfg: Config) -> "VideoMAE":
    """Build the network for `clips` and the cells of the schema; UserError as `vit_of_cells` raises it."""
    cells = schema["visible"][0][0] + schema["hidden"][0][0]
    encoder = vit_of_cells(backbone, schema["clips"][0], cells, task="videomae")
    return VideoMAE(encoder, cfg)


class VideoMAE(Pretext):
    """Encoder of the visible tokens, decoder of all, and the loss of the hidden ones."""

    backbone: ViT
    mean: Tensor
    std: Tensor

    def __init__(self, backbone: ViT, cfg: Config) -> None:
        super().__init__()
        self.backbone = backbone
        self.norm = nn.LayerNorm(backbone.out_channels, eps=EPS)
        self.project = nn.Linear(backbone.out_channels, cfg.decoder_width, bias=False)
        self.mask_token = nn.Parameter(torch.empty(cfg.decoder_width))
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        t, h, w = backbone.stride
        self.decoder = encoder_blocks(cfg.decoder_width, cfg.decoder_depth, cfg.decoder_heads)
        self.decoder_norm = nn.LayerNorm(cfg.decoder_width, eps=EPS)
        self.normalize_target = cfg.normalize_target
        self.predict = nn.Linear(cfg.decoder_width, 3 * t * h * w)
        init_xavier(self.predict)
        self.register_buffer("mean", torch.tensor(MEAN), persistent=False)
        self.register_buffer("std", torch.tensor(STD), persistent=False)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map `clips` (B, 3, T, H, W), and the cells `visible` (B, V) and `hidden` (B, M), to scalars.

        `loss` is the mean squared error of the hidden cubes. `explained` is the share of their variance that the
        prediction explains, 0 for their mean color. `chance` is what the mean of all hidden cubes explains, the best
        possible with a single prediction for all.
        """
        visible_BV, hidden_BM = self.tokens(batch)
        target_BMPC, _, _ = self.targets(batch["clips"], hidden_BM)
        loss = F.mse_loss(self.reconstruct(batch["clips"], visible_BV, hidden_BM).float(), target_BMPC)
        color_C = target_BMPC.mean(dim=(0, 1, 2))
        variance = (target_BMPC - color_C).square().mean().clamp_min(EPS)
        return {
            "loss": loss,
            "explained": 1 - loss.detach() / variance,
            "chance": (target_BMPC.mean(dim=(0, 1)) - color_C).square().mean() / variance,
        }

    def tokens(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the indices of the visible and the hidden tokens; the cells are the same at all times."""
        visible_BV, hidden_BM = (self.backbone.tokens(batch["clips"], batch[name]) for name in ("visible", "hidden"))
        return visible_BV, hidden_BM

    def reconstruct(self, clips_BCTHW: Tensor, visible_BV: Tensor, hidden_BM: Tensor) -> Tensor:
        """Predict the hidden cubes, (B, M, P, 3), as `targets` returns them."""
        visible_BVC = self.project(self.norm(self.backbone.encode(clips_BCTHW, visible_BV)))
        places_NC = self.backbone.positions(clips_BCTHW, self.project.out_features)
        decoded_BMC = fill_in(self.decoder, visible_BVC, self.mask_token, places_NC, visible_BV, hidden_BM)
        predicted_BMP: Tensor = self.predict(self.decoder_norm(decoded_BMC))
        predicted_BMPC: Tensor = predicted_BMP.unflatten(2, (-1, 3))
        return predicted_BMPC

    @torch.no_grad()
    def targets(self, clips_BCTHW: Tensor, kept_BK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return cubes of pixels, each color normalized over its cube, and the means and divisors used.

        Cubes are float32 (B, K, P, 3), P the pixels of one; mean and divisor (B, K, 1, 3), of pixels in 0..1, or 0 and
        1 without `normalize_target`.
        """
        cubes_BNPC = to_cubes(self.pixels(clips_BCTHW), self.backbone.stride)
        cubes_BKPC = cubes_BNPC.take_along_dim(kept_BK[..., None, None], dim=1)
        if not self.normalize_target:
            return cubes_BKPC, cubes_BKPC.new_zeros(()), cubes_BKPC.new_ones(())
        variance, mean = torch.var_mean(cubes_BKPC, dim=2, keepdim=True)
        divisor = variance.sqrt() + EPS
        return (cubes_BKPC - mean) / divisor, mean, divisor

    def pixels(self, clips_BCTHW: Tensor) -> Tensor:
        """Return the colors of clips in 0..1, float32."""
        return clips_BCTHW.float() * self.std[:, None, None, None] + self.mean[:, None, None, None]

    def picture(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Show the clips, what the encoder sees of them, and the prediction.

        Normalized cubes are shown with the true mean and contrast.
        """
        clips_BCTHW = batch["clips"]
        visible_BV, hidden_BM = self.tokens(batch)
        _, mean, divisor = self.targets(clips_BCTHW, hidden_BM)
        predicted_BMPC = self.reconstruct(clips_BCTHW, visible_BV, hidden_BM).float() * divisor + mean
        pixels_BCTHW = self.pixels(clips_BCTHW)
        cubes_BNPC = to_cubes(pixels_BCTHW, self.backbone.stride)
        places = hidden_BM[..., None, None].expand_as(predicted_BMPC)
        parts = {"what the encoder sees": torch.full_like(predicted_BMPC, 0.5), "prediction": predicted_BMPC}
        filled = {name: cubes_BNPC.scatter(1, places, part) for name, part in parts.items()}
        grid = self.backbone.grid(clips_BCTHW)
        return {"clip": pixels_BCTHW} | {
            name: from_cubes(cubes, grid, self.backbone.stride) for name, cubes in filled.items()
        }


def to_cubes(clips_BCTHW: Tensor, size: Stride) -> Tensor:
    """Cut clips into cubes of (t, h, w) pixels, (B, N, t * h * w, C), in the order of the tokens."""
    t, h, w = size
    cut = clips_BCTHW.unflatten(4, (-1, w)).unflatten(3, (-1, h)).unflatten(2, (-1, t))
    cubes_BNPC: Tensor = cut.permute(0, 2, 4, 6, 3, 5, 7, 1).flatten(4, 6).flatten(1, 3)
    return cubes_BNPC


def from_cubes(cubes_BNPC: Tensor, grid: Stride, size: Stride) -> Tensor:
    """Reassemble a `grid` of cubes from `to_cubes` into clips: (B, C, T, H, W)."""
    cut = cubes_BNPC.unflatten(2, size).unflatten(1, grid)
    clips_BCTHW: Tensor = cut.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)
    return clips_BCTHW
