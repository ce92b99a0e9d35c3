"""Backbones: strides, names, figures of CtP's networks, and a comparison with torchvision."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.video import r2plus1d_18, r3d_18

from configs.errors import UserError
from nets.backbones import DEFAULT_STRIDES, STRIDED, create

pytestmark = pytest.mark.slow

# Use -> spatial strides, temporal strides, clip, feature grid, GMAC of R3D-18 and of R(2+1)D-18.
VARIANTS = {
    "recognition": ((1, 2, 2, 2), (1, 2, 2, 2), (16, 112, 112), (2, 7, 7), 40.70, 41.50),
    "CtP": ((1, 2, 2, 1), (1, 2, 2, 2), (16, 112, 112), (2, 14, 14), 48.02, 49.44),
    "MemDPC": ((1, 2, 2, 2), (1, 1, 2, 2), (5, 112, 112), (2, 7, 7), 19.58, 19.69),
    "Something-Something": ((1, 2, 2, 2), (1, 2, 2, 2), (32, 112, 112), (4, 7, 7), 81.39, 82.99),
}
PARAMETERS = {
    "r3d18": {
        "stem": 28_352,
        "layer1": 442_880,
        "layer2": 1_557_760,
        "layer3": 6_228_480,
        "layer4": 24_908_800,
    },
    "r2plus1d18": {
        "stem": 15_473,
        "layer1": 444_032,
        "layer2": 1_559_564,
        "layer3": 6_231_320,
        "layer4": 24_915_250,
    },
}


def on_meta(name, **strides):
    with torch.device("meta"):
        return create(name, **strides)


def gigamacs(module, clip_shape):
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(torch.empty(1, 3, *clip_shape, device="meta"))
    return counter.get_total_flops() / 2e9


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameter_counts_per_stage_match_ctp(name):
    parts = on_meta(name).named_children()
    assert {part: sum(p.numel() for p in module.parameters()) for part, module in parts} == PARAMETERS[name]


def test_r2plus1d18_has_ctps_middle_widths():
    widths = [m.out_channels for m in on_meta("r2plus1d18").modules() if getattr(m, "kernel_size", 0) == (1, 3, 3)]
    assert widths == [144] * 4 + [230] + [288] * 3 + [460] + [576] * 3 + [921] + [1152] * 3


@pytest.mark.parametrize("name", ["r3d18", "r2plus1d18", "r3d_tiny", "r2plus1d10", "r2plus1d10_cstp"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_features_have_the_published_grid(name, variant):
    spatial, temporal, clip_shape, grid, *_ = VARIANTS[variant]
    backbone = on_meta(name, spatial_strides=spatial, temporal_strides=temporal)
    features = backbone(torch.empty(2, 3, *clip_shape, device="meta"))
    assert tuple(features.shape) == (2, 64 if name == "r3d_tiny" else 512, *grid)
    assert backbone.out_channels == features.shape[1]


@pytest.mark.parametrize("variant", VARIANTS)
def test_gmacs_of_big_backbones_match_the_published_numbers(variant):
    spatial, temporal, clip_shape, _, r3d, r2plus1d = VARIANTS[variant]
    for name, expected in (("r3d18", r3d), ("r2plus1d18", r2plus1d)):
        backbone = on_meta(name, spatial_strides=spatial, temporal_strides=temporal)
        assert gigamacs(backbone, clip_shape) == pytest.approx(expected, abs=0.0051)


def test_tiny_backbone_stays_small_enough_for_a_cpu():
    assert 0.25 < gigamacs(on_meta("r3d_tiny", spatial_strides=(1, 2, 2, 1)), (16, 112, 112)) < 0.35


strides = st.tuples(st.just(1), *[st.integers(1, 2)] * 3)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(list(STRIDED)),
    strides,
    strides,
    st.integers(1, 20),
    st.integers(17, 70),
    st.integers(17, 70),
)
def test_stride_predicts_the_grid_of_any_clip(name, spatial, temporal, frames, height, width):
    check_grid(on_meta(name, spatial_strides=spatial, temporal_strides=temporal).eval(), (frames, height, width))


@pytest.mark.parametrize("name", ["c3d", "i3d"])
@pytest.mark.parametrize("clip_shape", [(1, 17, 33), (5, 64, 64), (13, 70, 113), (16, 112, 97)])
def test_stride_predicts_the_grid_of_backbones_with_fixed_strides(name, clip_shape):
    check_grid(on_meta(name).eval(), clip_shape)


def check_grid(backbone, clip_shape):
    grid = backbone(torch.empty(1, 3, *clip_shape, device="meta")).shape[2:]
    assert list(grid) == [math.ceil(n / s) for n, s in zip(clip_shape, backbone.stride, strict=True)]


def with_eps(module, eps):
    for part in module.modules():
        if isinstance(part, nn.BatchNorm3d):
            part.eps = eps
    return module


def test_r3d18_matches_torchvisions_r3d_18():
    torch.manual_seed(0)
    ours, theirs = create("r3d18"), with_eps(r3d_18(), 1e-3)
    missing = theirs.load_state_dict(ours.state_dict(), strict=False)
    assert missing.missing_keys == ["fc.weight", "fc.bias"]
    assert not missing.unexpected_keys
    theirs.fc = nn.Identity()
    clips = torch.randn(2, 3, 8, 32, 32)
    for mode in (True, False):  # training mode first, to move the running statistics away from 0 and 1
        expected = theirs.train(mode)(clips)
        torch.testing.assert_close(ours.train(mode)(clips).mean(dim=(2, 3, 4)), expected)


def test_r2plus1d18_matches_torchvisions_where_widths_agree():
    torch.manual_seed(0)
    ours, theirs = create("r2plus1d18"), with_eps(r2plus1d_18(), 1e-3)
    clips = torch.randn(2, 3, 4, 32, 32)
    for part in ("stem", "layer1"):
        theirs.get_submodule(part).load_state_dict(ours.get_submodule(part).state_dict())
    features = [net.get_submodule("layer1")(net.get_submodule("stem")(clips)) for net in (ours, theirs)]
    torch.testing.assert_close(*features)


@pytest.mark.parametrize("name", STRIDED)
def test_weight_shapes_do_not_depend_on_strides(name):
    shapes = [
        {key: value.shape for key, value in on_meta(name, spatial_strides=s, temporal_strides=t).state_dict().items()}
        for s, t, *_ in VARIANTS.values()
    ]
    assert all(other == shapes[0] for other in shapes)


def test_unknown_backbone_names_the_nearest():
    with pytest.raises(UserError, match=r"'r3d_18'.*did you mean r3d18\?.*r3d_tiny"):
        create("r3d_18")


def test_strides_of_backbones_with_fixed_ones_are_refused():
    assert on_meta("c3d", spatial_strides=DEFAULT_STRIDES, temporal_strides=DEFAULT_STRIDES).stride == (8, 16, 16)
    with pytest.raises(UserError, match=r"needs strides \(1, 2, 2, 1\) in space.*those of c3d are fixed.*r3d18"):
        create("c3d", spatial_strides=(1, 2, 2, 1))
