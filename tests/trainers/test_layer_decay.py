"""`optim.layer_decay`: the rate of each layer, against BEiT's rule applied to parameter names."""

import re

import pytest
import torch

from configs.errors import UserError
from configs.optim import Optim
from nets import backbones
from nets.backbones.vit import ViT
from nets.classifier import Classifier, Config
from trainers.engine.optimizers import make_optimizer

DEPTH = 11  # so "blocks.1" is also a prefix of "blocks.10"


def classifier(backbone: str | None = None) -> Classifier:
    vit = ViT(width=8, depth=DEPTH, heads=2)
    return Classifier(backbones.create(backbone) if backbone else vit, 3, Config(layer_norm=True))


def factors(net: Classifier, optim: Optim) -> dict[str, float]:
    """Return the learning rate factor of each parameter."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = make_optimizer(net, optim).param_groups
    return {names[id(parameter)]: group["lr_factor"] for group in groups for parameter in group["params"]}


def beits_layer(name: str) -> int:
    """Return a parameter's layer: 0 before the blocks, DEPTH + 1 after them."""
    if block := re.match(r"backbone\.blocks\.(\d+)\.", name):
        return int(block[1]) + 1
    return 0 if name.startswith("backbone.patch_embed") else DEPTH + 1


@pytest.mark.parametrize("decay", [0.75, 1.0])
def test_layer_decay_matches_beit(decay):
    net = classifier()
    found = factors(net, Optim(layer_decay=decay))
    expected = {name: decay ** (DEPTH + 1 - beits_layer(name)) for name, _ in net.named_parameters()}
    assert found == pytest.approx(expected)
    assert found["norm.weight"] == found["linear.bias"] == 1
    assert found["backbone.patch_embed.weight"] == pytest.approx(decay**12)


def test_a_resnet_decays_by_stages():
    found = factors(classifier("r3d18"), Optim(layer_decay=0.5))
    stages = {name.split(".")[1]: factor for name, factor in found.items() if name.startswith("backbone.")}
    assert stages == {"stem": 1 / 32, "layer1": 1 / 16, "layer2": 1 / 8, "layer3": 1 / 4, "layer4": 1 / 2}


def test_layer_decay_multiplies_lr_factors():
    found = factors(classifier(), Optim(layer_decay=0.5, lr_factors=(("backbone", 0.1), ("linear", 3.0))))
    assert found["backbone.blocks.10.mlp.0.weight"] == pytest.approx(0.05)
    assert found["norm.bias"] == 1.0
    assert found["linear.weight"] == 3.0


def test_without_layer_decay_groups_follow_lr_factors():
    for parts in ((), (("backbone.blocks", 0.1),)):
        groups = make_optimizer(classifier(), Optim(lr_factors=parts)).param_groups
        assert [group["lr_factor"] for group in groups] == ([1.0, 0.1] if parts else [1.0])


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_every_backbone_parameter_is_in_at_most_one_layer(name):
    with torch.device("meta"):
        backbone = backbones.create(name)
    parts = [part for layer in backbone.layers() for part in layer]
    names = [parameter for parameter, _ in backbone.named_parameters()]
    matches = [[part for part in parts if parameter == part or parameter.startswith(f"{part}.")] for parameter in names]
    assert all(len(match) <= 1 for match in matches)
    assert {part for match in matches for part in match} == set(parts)


def test_layer_decay_without_layers_is_refused():
    with pytest.raises(UserError, match=r"optim.layer_decay = 0.7: C3D does not say what its layers are; .*lr_factors"):
        make_optimizer(classifier("c3d"), Optim(layer_decay=0.7))


@pytest.mark.parametrize("decay", [0.0, 1.5])
def test_layer_decay_out_of_range_is_refused(decay):
    with pytest.raises(ValueError, match=rf"layer_decay = {decay} must be above 0 and at most 1, or null"):
        Optim(layer_decay=decay)
