"""Backbones for torch.hub: `torch.hub.load(REPO, "r3d18", pretrained=PATH_OR_URL)`."""

from functools import partial as _partial
from pathlib import Path as _Path

import torch as _torch
from safetensors.torch import load_file as _load_file

from nets.backbones import BACKBONES as _BACKBONES
from nets.backbones import Backbone as _Backbone
from nets.backbones import create as _create

dependencies = ["safetensors", "torch", "torchvision"]


def _backbone(name: str, pretrained: str | None = None) -> _Backbone:
    """Create a backbone: clips (B, 3, T, H, W) to features (B, out_channels, T', H', W').

    Args:
        pretrained: an export of `clipfeed export`, a folder or a .safetensors, or the URL of a .safetensors to
            download once; random weights without it.
    """
    net = _create(name)
    if pretrained:
        path = _Path(pretrained)
        if "://" in pretrained:
            folder = _Path(_torch.hub.get_dir(), "checkpoints")
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / pretrained.split("://")[1].replace("/", "_")  # as unique as the URL
            if not path.is_file():
                _torch.hub.download_url_to_file(pretrained, str(path))
        net.load_state_dict(_load_file(path / "model.safetensors" if path.is_dir() else path))
    return net


for _name in _BACKBONES:
    globals()[_name] = _partial(_backbone, _name)
    globals()[_name].__doc__ = _backbone.__doc__
