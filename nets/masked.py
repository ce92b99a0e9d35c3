"""Vision transformers that see some cells of a clip, for tasks whose plan hides the others."""

from collections.abc import Sequence

import torch

from configs.errors import UserError
from nets import backbones
from nets.backbones.vit import ViT


def vit_of_cells(backbone: str, clips_CTHW: Sequence[int], cells: int, *, task: str) -> ViT:
    """Create a backbone whose tubelets are the cells of a mask.

    Args:
        clips_CTHW: shape of a clip.
        cells: of the mask, in a frame.

    Raises:
        UserError: the backbone is unknown, no `ViT`, or of other cells; or clips do not divide into tubelets.
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
