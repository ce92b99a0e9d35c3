"""Checkpoints of V-JEPA's code (arXiv 2404.08471): pretraining of ViT-L and ViT-H.

Their target encoder is the backbone here, since the original evaluates it. Position embeddings are computed here, not
loaded, and a checkpoint with different ones is rejected.
"""

import math
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from configs.errors import UserError
from nets.backbones import create
from nets.backbones.vit import ViT
from trainers.weights.imports import Imported, Rule, renamed, rules
from trainers.weights.imports.videomae import BLOCK

SIZES = {1024: "vit_l16", 1280: "vit_h16"}
"""Channels of a token -> backbone."""
FRAMES, PATCH = 16, 16
COMPUTED = "equal to the positions that are computed here"
POSITIONS = {
    "encoder": "encoder.backbone.pos_embed",
    "target_encoder": "target_encoder.backbone.pos_embed",
    "predictor": "predictor.backbone.predictor_pos_embed",
}


def _blocks(theirs: str, ours: str) -> list[Rule]:
    table = f"{BLOCK}attn.qkv.bias -> self_attention.in_proj_bias"
    return rules(table, f"{theirs}.{{i}}.", f"{ours}.{{i}}.")


TABLE = [
    *_blocks("encoder.backbone.blocks", "encoder.blocks"),
    *_blocks("target_encoder.backbone.blocks", "backbone.blocks"),
    *_blocks("predictor.backbone.predictor_blocks", "predictor"),
    *rules(f"""
        encoder.backbone.patch_embed.proj -> encoder.patch_embed
        encoder.backbone.norm -> encoder_norm
        target_encoder.backbone.patch_embed.proj -> backbone.patch_embed
        target_encoder.backbone.norm -> norm
        predictor.backbone.predictor_embed -> embed
        predictor.backbone.mask_tokens -> mask_tokens
        predictor.backbone.predictor_norm -> predictor_norm
        predictor.backbone.predictor_proj -> project
        {POSITIONS["encoder"]} -- {COMPUTED}
        {POSITIONS["target_encoder"]} -- {COMPUTED}
        {POSITIONS["predictor"]} -- {COMPUTED}
    """),
]


def convert(state: Mapping[str, Tensor]) -> Imported:
    """Convert a state dict: see `trainers.weights.imports`."""
    lacking = [name for name, key in POSITIONS.items() if key not in state]
    if lacking:
        raise UserError(
            f"not a checkpoint of V-JEPA's code: it has no {' and no '.join(lacking)}; V-JEPA 2 and probes are others"
        )
    model, used, left = renamed(state, TABLE)
    _, tokens, width = state[POSITIONS["target_encoder"]].shape
    if width not in SIZES:
        known = " and ".join(f"{name} with {channels}" for channels, name in SIZES.items())
        raise UserError(f"its tokens have {width} channels; there are {known}")
    backbone, size = SIZES[width], PATCH * math.isqrt(tokens // (FRAMES // 2))
    _require_positions(state, backbone, size)
    masks = sorted(key for key in model if key.startswith("mask_tokens."))
    model["mask_tokens"] = torch.cat([model.pop(key).flatten(1) for key in masks])
    used = {theirs: "mask_tokens" if ours in masks else ours for theirs, ours in used.items()}
    depth = sum(re.fullmatch(r"predictor\.\d+\.ln_1\.weight", ours) is not None for ours in model)
    changes = (f"backbone={backbone}", f"plan.size={size}", f"net.predictor_depth={depth}")
    return Imported("vjepa/vit_l16_kinetics.yaml", model, used, left, changes)


def _require_positions(state: Mapping[str, Tensor], backbone: str, size: int) -> None:
    """Raise UserError if the checkpoint's positions differ from the backbone's for clips of `size` pixels."""
    with torch.device("meta"):
        encoder = create(backbone)
    assert isinstance(encoder, ViT)
    clips = torch.empty(0, 3, FRAMES, size, size)
    for key in POSITIONS.values():
        theirs = state[key][0]
        ours = encoder.positions(clips, theirs.shape[1])
        if ours.shape != theirs.shape or not torch.allclose(ours, theirs.float(), atol=1e-4):
            raise UserError(
                f"{key} differs from the positions of {backbone} for {FRAMES} frames of {size} pixels. Only those with "
                "a third of the channels each for time, row and column (uniform_power in its recipe) can be imported"
            )
