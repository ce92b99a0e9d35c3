"""V-JEPA: predict the features of the hidden blocks of a clip from the visible cells.

Bardes et al., "Revisiting Feature Prediction for Learning Visual Representations from Video", TMLR 2024,
arXiv 2404.08471.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from configs.errors import require
from nets.backbones.vit import ViT, encoder_blocks
from nets.ema import ema_copy, ema_update
from nets.init import init_scaled
from nets.masked import check_blocks, fill_in, vit_of_cells
from nets.tasks import Pretext, Schema

METRIC = "explained"
EPS = 1e-6


@dataclass(frozen=True)
class Config:
    """Options of the predictor and the target; the defaults are those for ViT-L."""

    predictor_width: int = 384
    """Channels of a token in the predictor."""
    predictor_depth: int = 12
    """Blocks."""
    predictor_heads: int = 16
    """Attention heads per block, as many as the encoder has."""
    momentum: float = 0.99925
    """Momentum per step of the target, an average of the encoder. V-JEPA raises it from 0.998 to 1; V-JEPA 2 keeps
    this."""

    def __post_init__(self) -> None:
        check_blocks("predictor", width=self.predictor_width, depth=self.predictor_depth, heads=self.predictor_heads)
        require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")


def build(backbone: str, schema: Schema, cfg: Config) -> "VJepa":
    """Build the network for `clips` and the masks of the schema; UserError as `vit_of_cells` raises it."""
    cells = schema["visible_0"][0][0] + schema["hidden_0"][0][0]
    masks = sum(name.startswith("hidden_") for name in schema)
    return VJepa(vit_of_cells(backbone, schema["clips"][0], cells, task="vjepa"), masks, cfg)


class VJepa(Pretext):
    """Encoder of the visible tokens, predictor of the hidden ones, and the averaged encoder that sees all.

    The averaged encoder is the backbone, which the original evaluates.
    """

    backbone: ViT

    def __init__(self, encoder: ViT, masks: int, cfg: Config) -> None:
        super().__init__()
        self.encoder, self.momentum = encoder, cfg.momentum
        self.encoder_norm = nn.LayerNorm(encoder.out_channels, eps=EPS)
        self.embed = nn.Linear(encoder.out_channels, cfg.predictor_width)
        self.mask_tokens = nn.Parameter(torch.zeros(masks, cfg.predictor_width))
        self.predictor = encoder_blocks(cfg.predictor_width, cfg.predictor_depth, cfg.predictor_heads)
        self.predictor_norm = nn.LayerNorm(cfg.predictor_width, eps=EPS)
        self.project = nn.Linear(cfg.predictor_width, encoder.out_channels)
        init_scaled(self.encoder.blocks)  # as the original does
        init_scaled(self.predictor)
        for layer in (self.encoder.patch_embed, self.embed, self.project):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.backbone, self.norm = ema_copy(self.encoder), ema_copy(self.encoder_norm)

    def before_step(self, epoch: int) -> None:
        """Update the averaged encoder."""
        ema_update(self.backbone, self.encoder, self.momentum)
        ema_update(self.norm, self.encoder_norm, self.momentum)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Map `clips` (B, 3, T, H, W), and of each mask the cells `visible_0` (B, V) and `hidden_0` (B, M), to scalars.

        `loss` is the mean absolute error of the hidden tokens' features, averaged over the masks. `explained` is the
        share of the variance of all tokens' features that the predictions explain; `chance` is that of the mean of the
        other clips at the same place, which knows only the position.
        """
        clips_BCTHW = batch["clips"]
        target_BNC = self.targets(clips_BCTHW)
        losses, errors = [], []
        for number in range(len(self.mask_tokens)):
            visible_BV, hidden_BM = (
                self.backbone.tokens(clips_BCTHW, batch[f"{name}_{number}"]) for name in ("visible", "hidden")
            )
            predicted_BMC = self.predict(clips_BCTHW, visible_BV, hidden_BM, number).float()
            difference_BMC = predicted_BMC - target_BNC.take_along_dim(hidden_BM[..., None], dim=1)
            losses.append(difference_BMC.abs().mean())
            errors.append(difference_BMC.detach().square().mean())
        variance = target_BNC.var(dim=(0, 1), correction=0).mean().clamp_min(EPS)
        others = len(target_BNC) - 1
        by_place = target_BNC.var(dim=0, correction=0).mean() * (1 + 1 / others) ** 2 if others else variance
        return {
            "loss": torch.stack(losses).mean(),
            "explained": 1 - torch.stack(errors).mean() / variance,
            "chance": 1 - by_place / variance,
        }

    @torch.no_grad()
    def targets(self, clips_BCTHW: Tensor) -> Tensor:
        """Return the averaged encoder's features of all tokens, (B, N, C), each with mean 0 and variance 1."""
        features_BNC = self.norm(self.backbone.encode(clips_BCTHW)).float()
        return F.layer_norm(features_BNC, features_BNC.shape[2:])

    def predict(self, clips_BCTHW: Tensor, visible_BV: Tensor, hidden_BM: Tensor, number: int) -> Tensor:
        """Predict the features of the hidden tokens of a mask from the visible ones, (B, M, C)."""
        visible_BVC = self.embed(self.encoder_norm(self.encoder.encode(clips_BCTHW, visible_BV)))
        places_NC = self.encoder.positions(clips_BCTHW, self.embed.out_features)
        tokens_BMC = fill_in(self.predictor, visible_BVC, self.mask_tokens[number], places_NC, visible_BV, hidden_BM)
        predicted_BMC: Tensor = self.project(self.predictor_norm(tokens_BMC))
        return predicted_BMC
