"""Checkpoints of small networks, as a run writes them."""

from pathlib import Path

import torch
from torch import nn

from configs.load import dump, parse
from nets.backbones import create
from tests.helpers.runs import RECIPE
from trainers.engine import checkpoint


def write_checkpoint(path: Path, *, seed: int = 0, text: str = RECIPE, backbone: str = "r3d_tiny") -> nn.Module:
    """Write a pretext checkpoint of step 6 without training; return its backbone in eval mode, with BN statistics."""
    config = parse(text.format(root="nowhere", work_dir="nowhere"), source="test", overrides=[f"backbone={backbone}"])
    torch.manual_seed(seed)
    net = create(backbone).train()
    net(torch.randn(2, 3, 8, 64, 64))
    model = {f"backbone.{key}": value for key, value in net.state_dict().items()} | {"head": torch.ones(3)}
    checkpoint.write(path, {"identity": {}, "config": dump(config), "classes": [], "model": model, "step": 6})
    return net.eval()
