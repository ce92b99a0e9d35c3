"""Vision transformers: published sizes, positions by loops, and which tokens see which."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from configs.errors import UserError
from nets.backbones import create
from nets.backbones.vit import ViT


def tiny(**changes) -> ViT:
    return ViT(**({"width": 24, "depth": 2, "heads": 3, "patch": 8} | changes)).eval()


def clips(count=2, *, frames=4, side=16) -> torch.Tensor:
    return torch.randn(count, 3, frames, side, side)


def parameters_of_videomae(width: int, depth: int, cube: int = 2 * 16 * 16 * 3) -> int:
    """Count the published network, which has biases for queries and values but not for keys."""
    norms, attention = 4 * width, 3 * width**2 + 2 * width + width**2 + width
    mlp = 4 * width**2 + 4 * width + 4 * width**2 + width
    return cube * width + width + depth * (norms + attention + mlp)


@pytest.mark.parametrize(("name", "width", "millions"), [("vit_s16", 384, 22), ("vit_b16", 768, 86)])
def test_parameter_counts_match_the_paper_plus_key_biases(name, width, millions):
    with torch.device("meta"):
        count = sum(parameter.numel() for parameter in create(name).parameters())
    assert count == parameters_of_videomae(width, 12) + 12 * width
    assert round(count / 1e6) == millions


@pytest.mark.parametrize(
    ("name", "clip", "grid"), [("vit_b16", (16, 224, 224), (8, 14, 14)), ("vit_tiny", (8, 64, 48), (4, 8, 6))]
)
def test_features_have_the_grid_of_the_tubelets(name, clip, grid):
    with torch.device("meta"):
        backbone = create(name)
        features = backbone(torch.empty(2, 3, *clip))
    assert features.shape == (2, backbone.out_channels, *grid)
    assert tuple(n * s for n, s in zip(grid, backbone.stride, strict=True)) == clip


def angle(number: int, place: int, width: int) -> float:
    return number / 10000 ** (2 * place / width)


def test_positions_are_sines_and_cosines_of_token_numbers():
    with torch.device("meta"):
        backbone = tiny(depth=0)
    table = backbone.positions(torch.empty(1, 3, 4, 40, 40), 6)
    for token in range(50):
        for channel in range(6):
            of = math.cos if channel % 2 else math.sin
            assert table[token, channel] == pytest.approx(of(angle(token, channel // 2, 6)), abs=1e-6)


def test_grid_positions_concatenate_time_row_and_column():
    """V-JEPA gives each axis a third of the channels, rounded up to an even number, and cuts off the excess."""
    with torch.device("meta"):
        backbone = tiny(depth=0, grid_positions=True)
    table = backbone.positions(torch.empty(1, 3, 4, 24, 40), 20)  # 2 x 3 x 5 tokens; 8, 8 and 4 of 8 channels
    for token, numbers in enumerate((t, h, w) for t in range(2) for h in range(3) for w in range(5)):
        expected = []
        for number in numbers:
            expected += [math.sin(angle(number, place, 8)) for place in range(4)]
            expected += [math.cos(angle(number, place, 8)) for place in range(4)]
        torch.testing.assert_close(table[token], torch.tensor(expected[:20]), atol=1e-6, rtol=0)


def test_encoding_all_tokens_gives_the_feature_map():
    backbone, seen = tiny(), clips()
    everything = torch.arange(8).expand(2, -1)
    features = backbone(seen).flatten(2).transpose(1, 2)
    torch.testing.assert_close(backbone.encode(seen, everything), features)
    torch.testing.assert_close(backbone.encode(seen, everything.flip(1)), features.flip(1))


def test_tokens_match_their_tubelets():
    backbone = tiny(depth=0)
    patch, bias = backbone.patch_embed.weight.flatten(1), backbone.patch_embed.bias
    assert bias is not None
    seen = clips(1, frames=6, side=24)
    features, places = backbone(seen), backbone.positions(seen, 24)
    for number, (t, h, w) in enumerate((t, h, w) for t in range(3) for h in range(3) for w in range(3)):
        cube = seen[0, :, 2 * t : 2 * t + 2, 8 * h : 8 * h + 8, 8 * w : 8 * w + 8].flatten()
        expected = patch @ cube + bias + places[number]
        torch.testing.assert_close(features[0, :, t, h, w], expected, rtol=1e-4, atol=1e-5)


def test_kept_tokens_see_only_each_other():
    backbone, seen, kept = tiny(), clips(1), torch.tensor([[0, 3, 5]])
    before = backbone.encode(seen, kept)
    hidden, visible = seen.clone(), seen.clone()
    hidden[:, :, :2, :8, 8:] += 1  # tubelet 1
    visible[:, :, 2:, :8, 8:] += 1  # tubelet 5
    assert torch.equal(backbone.encode(hidden, kept), before)
    assert (backbone.encode(visible, kept) - before).abs().amax(2).min() > 1e-4


def test_drop_path_increases_with_depth_and_acts_only_in_training():
    backbone, seen = tiny(depth=3), clips()
    before = backbone(seen)
    backbone.set_drop_path(1.0)
    branches = [module.p for module in backbone.modules() if isinstance(module, StochasticDepth)]
    assert branches == [0.0, 0.0, 0.5, 0.5, 1.0, 1.0]
    assert torch.equal(backbone(seen), before)
    two = tiny(depth=2)
    two.set_drop_path(1.0)
    first = tiny(depth=1)
    first.load_state_dict({key: value for key, value in two.state_dict().items() if not key.startswith("blocks.1")})
    torch.testing.assert_close(two.train()(seen), first(seen))


def test_drop_path_drops_or_rescales_whole_branches():
    """The first block drops nothing. In the second, each branch counts 0 or 2 times at a probability of a half."""
    backbone, seen = tiny(depth=2), clips(1)
    block: Any = backbone.blocks[1]

    def expected(attention: float, mlp: float) -> torch.Tensor:
        shallow = tiny(depth=1)
        shallow.load_state_dict({key: value for key, value in backbone.state_dict().items() if "blocks.1" not in key})
        tokens = shallow.encode(seen)
        normed = block.ln_1(tokens)
        tokens = tokens + attention * block.self_attention(normed, normed, normed)[0]
        tokens = tokens + mlp * block.mlp(block.ln_2(tokens))
        return tokens

    with torch.no_grad():
        candidates = torch.cat([expected(attention, mlp) for attention in (0, 2) for mlp in (0, 2)])
        backbone.set_drop_path(0.5)
        encoded = backbone.train().encode(seen.expand(400, -1, -1, -1, -1))
    nearest = torch.cdist(encoded.flatten(1), candidates.flatten(1)).argmin(dim=1)
    torch.testing.assert_close(encoded, candidates[nearest])
    assert (nearest.bincount(minlength=4) > 60).all()  # 100 each; 60 is 4.6 standard deviations below


def test_layers_hold_every_parameter_once():
    backbone = tiny()
    layers = backbone.layers()
    assert layers == [["patch_embed"], ["blocks.0"], ["blocks.1"]]
    for name, _ in backbone.named_parameters():
        assert sum(name.startswith(f"{part}.") for layer in layers for part in layer) == 1


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5, 16, 16), "a clip of 5 frames .* tubelets of 2: set plan.num_frames to a multiple of 2, such as 4"),
        ((4, 20, 20), "a clip of 20 rows .* tubelets of 8: set plan.size to a multiple of 8, such as 16"),
        ((4, 16, 20), "a clip of 20 columns"),
        ((1, 16, 16), "such as 2"),
    ],
)
def test_a_clip_that_tubelets_do_not_divide_is_refused(shape, message):
    with pytest.raises(UserError, match=message):
        tiny()(torch.randn(1, 3, *shape))


@pytest.mark.slow
def test_vit_with_drop_path_compiles_in_one_graph():
    backbone, seen = tiny().train(), clips()
    backbone.set_drop_path(0.5)
    compiled = torch.compile(backbone, backend="eager", fullgraph=True)
    torch.manual_seed(1)
    there = compiled(seen)
    torch.manual_seed(1)
    torch.testing.assert_close(there, backbone(seen))


def test_initial_weights_match_the_original():
    """Xavier uniform: the bound is sqrt(6 / (in + out)), with q, k and v as one matrix."""
    block = tiny(width=48).blocks[0]
    weights = {name: value for name, value in block.named_parameters() if value.ndim == 2}
    assert len(weights) == 4
    for weight in weights.values():
        bound = math.sqrt(6 / sum(weight.shape))
        assert 0.97 * bound < weight.abs().max() <= bound
    biases = [value for name, value in block.named_parameters() if name.endswith("bias")]
    assert len(biases) == 6
    assert not any(bias.any() for bias in biases)
    assert all(norm.eps == 1e-6 for norm in block.modules() if isinstance(norm, nn.LayerNorm))
