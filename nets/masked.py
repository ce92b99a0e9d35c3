"""Vision transformers that see only some cells of a clip, for tasks whose plan hides the rest."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from configs.errors import UserError, require
from nets import backbones
from nets.backbones.vit import ViT

MOST = {"width": 100_000, "depth": 1000, "heads": 1000}
"""Largest sizes of blocks: deeper ones would take minutes to build."""


def check_blocks(part: str, *, width: int, depth: int, heads: int) -> None:
    """Raise ValueError for sizes that `encoder_blocks` cannot have; keys begin with `part`, as decoder_width does."""
    for key, value in (("width", width), ("depth", depth), ("heads", heads)):
        require(1 <= value <= MOST[key], f"{part}_{key}", value, f"from 1 to {MOST[key]:,}")
    fits = width % heads == 0 and width % 2 == 0
    require(fits, f"{part}_width", width, f"even, and a multiple of {part}_heads = {heads}")


def vit_of_cells(backbone: str, clips_CTHW: Sequence[int], cells: int, *, task: str) -> ViT:
    """Create a backbone whose tubelets are the `cells` of a mask in a frame; `clips_CTHW` is the shape of a clip.

    UserError if the backbone is unknown, not a `ViT`, or has other cells, and if clips do not divide into tubelets.
    """
    encoder = backbones.create(backbone)
    if not isinstance(encoder, ViT):
        raise UserError(f"{task} hides tokens, and {backbone} has none: choose vit_s16, vit_b16 or another ViT")
    encoder.grid(torch.empty(1, *clips_CTHW, device="meta"))
    side, patch = clips_CTHW[-1], encoder.stride[2]
    if (side // patch) ** 2 != cells:
        raise UserError(
            f"the mask has cells of plan.patch = {round(side / cells**0.5)} pixels, the tubelets of {backbone} are of "
            f"{patch}: set plan.patch={patch}, or choose another backbone"
        )
    return encoder


def fill_in(
    blocks: nn.Module,
    visible_BVC: Tensor,
    mask_token_C: Tensor,
    places_NC: Tensor,
    visible_BV: Tensor,
    hidden_BM: Tensor,
) -> Tensor:
    """Apply `blocks` to the visible tokens and a mask token at each hidden position; return the latter: (B, M, C).

    The positions of all tokens, `places_NC`, are added to each; `visible_BV` and `hidden_BM` are their indices, int64.
    """
    places_NC = places_NC.to(visible_BVC)
    hidden_BMC = mask_token_C.to(visible_BVC) + places_NC[hidden_BM]
    tokens_BNC: Tensor = blocks(torch.cat([visible_BVC + places_NC[visible_BV], hidden_BMC], dim=1))
    return tokens_BNC[:, visible_BV.shape[1] :]
