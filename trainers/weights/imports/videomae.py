"""Checkpoints of VideoMAE's code (arXiv 2203.12602): pretraining and classifiers of ViT-S and ViT-B.

Its linear layer of queries, keys and values has no bias for the keys; ours has one, which is set to 0.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from configs.errors import UserError
from trainers.weights.imports import Imported, renamed, rules

BLOCK = """
    norm1 -> ln_1
    norm2 -> ln_2
    attn.qkv.weight -> self_attention.in_proj_weight
    attn.proj -> self_attention.out_proj
    mlp.fc1 -> mlp.0
    mlp.fc2 -> mlp.3
"""
"""Names in a block, also in V-JEPA's; all but the biases of the queries, keys and values."""
OWN_BLOCK = f"{BLOCK}attn.{{part:qv}}_bias -> self_attention.{{part}}_bias"
PRETRAINING = [
    *rules("patch_embed.proj -> patch_embed", "encoder.", "backbone."),
    *rules(OWN_BLOCK, "encoder.blocks.{i}.", "backbone.blocks.{i}."),
    *rules(OWN_BLOCK, "decoder.blocks.{i}.", "decoder.{i}."),
    *rules("""
        encoder.norm -> norm
        encoder_to_decoder -> project
        mask_token
        decoder.norm -> decoder_norm
        decoder.head -> predict
    """),
]
CLASSIFIER = [
    *rules("patch_embed.proj -> patch_embed", "", "backbone."),
    *rules(OWN_BLOCK, "blocks.{i}.", "backbone.blocks.{i}."),
    *rules("""
        fc_norm -> norm
        head -> linear
    """),
]
SIZES = {384: "s", 768: "b"}
"""Channels of a token -> size of the ViT."""
DATASETS = {51: "hmdb51", 101: "ucf101"}
"""Number of classes -> the dataset whose recipe is used; Kinetics for any other number."""


def convert(state: Mapping[str, Tensor]) -> Imported:
    """Convert a state dict: see `trainers.weights.imports`."""
    pretraining = "encoder.patch_embed.proj.weight" in state
    embedding = state.get("encoder.patch_embed.proj.weight" if pretraining else "patch_embed.proj.weight")
    if embedding is None or not ("mask_token" in state if pretraining else "head.weight" in state):
        raise UserError("not a checkpoint of VideoMAE's code, of pretraining or of a classifier")
    size = SIZES.get(embedding.shape[0])
    if size is None:
        raise UserError(f"its tokens have {embedding.shape[0]} channels; there are ViT-S with 384 and ViT-B with 768")
    model, used, left = renamed(state, PRETRAINING if pretraining else CLASSIFIER)
    for key in [key for key in model if key.endswith(".q_bias")]:
        q = model.pop(key)
        v = model.pop(key.replace("q_bias", "v_bias"), torch.zeros_like(q))
        model[key.replace("q_bias", "in_proj_bias")] = torch.cat([q, torch.zeros_like(q), v])
    used = {theirs: re.sub(r"\.[qv]_bias$", ".in_proj_bias", ours) for theirs, ours in used.items()}
    if not pretraining:
        dataset = DATASETS.get(len(state["head.weight"]), "kinetics") if size == "b" else "kinetics"
        return Imported(f"recognition/videomae_vit_{size}16_{dataset}.yaml", model, used, left)
    model["mask_token"] = model["mask_token"].flatten()
    depth = sum(key.startswith("decoder.blocks.") and key.endswith(".norm1.weight") for key in state)
    changes = (f"net.decoder_depth={depth}",) if depth != 4 else ()
    return Imported(f"videomae/vit_{size}16_kinetics.yaml", model, used, left, changes)
