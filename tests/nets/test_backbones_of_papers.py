"""Backbones of several papers: shapes of the original checkpoints, published grids, and slow references."""

import hashlib
import math

import pytest
import torch
from torch import nn
from torchvision.models.video.resnet import BasicBlock, Conv2Plus1D, Conv3DSimple, R2Plus1dStem, VideoResNet
from torchvision.models.video.s3d import S3D

from nets.backbones import create
from nets.backbones.inception import S3DG, SamePadding, SelfGating
from tests.helpers.training import count

pytestmark = pytest.mark.slow

# From the originals' checkpoints: parameters, tensors in the state (shared ones counted once), and the hash of their
# sorted shapes.
ORIGINALS = {
    "r3d18": (33_166_272, 120, "db5589de6f59e0f8"),
    "r2plus1d18": (33_165_639, 222, "94af39095329f425"),
    "r2plus1d10": (12_487_005, 126, "20b4a061d081868c"),
    "r2plus1d10_cstp": (14_365_303, 144, "7a2896aec2be1a5c"),
    "c3d": (27_661_440, 56, "d34e44134f1b7e93"),
    "resnet3d18": (33_203_904, 120, "28d6ed1ea7a8fc92"),
    "s3dg": (9_098_000, 534, "8bdfe84003b69542"),
    "i3d": (12_287_264, 342, "2dd7a5e4de2ae9bc"),
}
# Backbone, side of a clip of 16 frames in pixels, published shape of its features.
GRIDS = [
    ("r2plus1d10", 128, (512, 2, 8, 8)),
    ("r2plus1d10_cstp", 112, (512, 2, 7, 7)),
    ("c3d", 112, (512, 2, 7, 7)),
    ("resnet3d10", 112, (512, 1, 4, 4)),
    ("resnet3d18", 112, (512, 1, 4, 4)),
    ("resnet3d34", 112, (512, 1, 4, 4)),
    ("s3dg", 112, (1024, 2, 3, 3)),
    ("s3dg", 224, (1024, 2, 7, 7)),
    ("i3d", 112, (1024, 2, 4, 4)),
    ("i3d", 224, (1024, 2, 7, 7)),
]
NEW = ["r2plus1d10", "r2plus1d10_cstp", "c3d", "resnet3d10", "s3dg", "i3d"]


def on_meta(name, **strides):
    with torch.device("meta"):
        return create(name, **strides)


@pytest.mark.parametrize("name", ORIGINALS)
def test_state_dict_has_the_originals_shapes(name):
    shapes = sorted(tuple(value.shape) for value in on_meta(name).state_dict().values())
    digest = hashlib.sha256(repr(shapes).encode()).hexdigest()[:16]
    assert (count(on_meta(name)), len(shapes), digest) == ORIGINALS[name]


@pytest.mark.parametrize(("name", "millions"), [("resnet3d10", 14.40), ("resnet3d18", 33.20), ("resnet3d34", 63.51)])
def test_3d_resnets_have_the_published_number_of_parameters(name, millions):
    assert count(on_meta(name)) / 1e6 == pytest.approx(millions, abs=0.005)


@pytest.mark.parametrize(("name", "size", "shape"), GRIDS)
def test_features_of_sixteen_frames_have_the_published_shape(name, size, shape):
    backbone = on_meta(name)
    features = backbone(torch.empty(2, 3, 16, size, size, device="meta"))
    assert tuple(features.shape) == (2, *shape)
    assert backbone.out_channels == shape[0]


def test_r2plus1d10_cstp_has_the_published_middle_widths():
    backbone = on_meta("r2plus1d10_cstp")
    convs = {name: part for name, part in backbone.named_modules() if isinstance(part, nn.Conv3d)}
    spatial = {name: conv.out_channels for name, conv in convs.items() if conv.kernel_size[1] > 1}
    assert list(spatial.values()) == [83, 144, 144, 230, 288, 460, 576, 921, 1152]
    shortcuts = [conv for name, conv in convs.items() if "downsample.0" in name]
    assert [conv.out_channels for conv in shortcuts] == [42, 85, 170]
    assert {conv.stride for conv in shortcuts} == {(1, 2, 2)}
    kinds = [type(part) for part in backbone.layer2[0].downsample]
    assert kinds == [nn.Conv3d, nn.BatchNorm3d, nn.ReLU, nn.Conv3d, nn.BatchNorm3d]


@pytest.mark.parametrize(
    ("name", "strides", "grids"),
    [
        (
            "r3d18",
            {"spatial_strides": (1, 2, 2, 1)},
            [(64, 16, 56, 56), (64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 14, 14)],
        ),
        (
            "r2plus1d10_cstp",
            {},
            [(64, 16, 56, 56), (64, 16, 56, 56), (128, 8, 28, 28), (256, 4, 14, 14), (512, 2, 7, 7)],
        ),
        ("resnet3d18", {}, [(64, 8, 28, 28), (64, 8, 28, 28), (128, 4, 14, 14), (256, 2, 7, 7), (512, 1, 4, 4)]),
    ],
)
def test_stages_have_the_published_grids(name, strides, grids):
    features, shapes = torch.empty(1, 3, 16, 112, 112, device="meta"), []
    for part in on_meta(name, **strides).children():
        features = part(features)
        shapes.append(tuple(features.shape[1:]))
    assert shapes == grids


def test_convolutions_of_c3d_have_the_published_grids():
    features, shapes = torch.empty(1, 3, 16, 112, 112, device="meta"), []
    for part in on_meta("c3d").features:
        features = part(features)
        if not isinstance(part, nn.MaxPool3d):
            shapes.append(tuple(features.shape[1:]))
    assert shapes == [
        (64, 16, 112, 112),
        (128, 16, 56, 56),
        *[(256, 8, 28, 28)] * 2,
        *[(512, 4, 14, 14)] * 2,
        *[(512, 2, 7, 7)] * 2,
    ]


def pooled_stem():
    conv = nn.Conv3d(3, 64, kernel_size=7, stride=(1, 2, 2), padding=3, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(64), nn.ReLU(), nn.MaxPool3d(3, stride=2, padding=1))


@pytest.mark.parametrize(
    ("name", "conv", "stem"), [("r2plus1d10", Conv2Plus1D, R2Plus1dStem), ("resnet3d10", Conv3DSimple, pooled_stem)]
)
def test_residual_networks_match_torchvision(name, conv, stem):
    torch.manual_seed(0)
    ours, theirs = create(name), VideoResNet(BasicBlock, [conv] * 4, [1] * 4, stem)
    assert theirs.load_state_dict(ours.state_dict(), strict=False) == (["fc.weight", "fc.bias"], [])
    theirs.fc = nn.Identity()  # type: ignore[assignment]  # drop the classifier
    clips = torch.randn(2, 3, 8, 32, 32)
    torch.testing.assert_close(ours(clips).mean(dim=(2, 3, 4)), theirs(clips))


def test_self_gating_matches_a_slow_reference():
    torch.manual_seed(0)
    gate, features = SelfGating(3), torch.randn(2, 3, 2, 4, 4)
    expected = torch.empty_like(features)
    for clip, scaled in zip(features, expected, strict=True):
        means = [channel.mean().item() for channel in clip]
        for c in range(3):
            logit = sum(gate.fc.weight[c, d].item() * means[d] for d in range(3)) + gate.fc.bias[c].item()
            scaled[c] = clip[c] / (1 + math.exp(-logit))
    torch.testing.assert_close(gate(features), expected)


def test_s3dg_with_open_gates_matches_s3d():
    torch.manual_seed(0)
    ours, theirs = S3DG(), S3D(norm_layer=nn.BatchNorm3d)
    loaded = theirs.features.load_state_dict(ours.features.state_dict(), strict=False)
    assert not loaded.missing_keys
    assert len(loaded.unexpected_keys) == 9 * 4 * 2  # blocks, branches, weight and bias
    clips = torch.randn(2, 3, 8, 32, 32)
    expected = theirs.features(clips)
    for bias, same in ((100, True), (0, False)):
        for gate in ours.modules():
            if isinstance(gate, SelfGating):
                nn.init.zeros_(gate.fc.weight)
                nn.init.constant_(gate.fc.bias, bias)
        assert torch.allclose(ours(clips), expected, atol=1e-4) == same


# Zeros before and after, computed by hand from TensorFlow's definition of SAME.
@pytest.mark.parametrize(
    ("length", "kernel", "stride", "before", "after"),
    [(112, 7, 2, 2, 3), (113, 7, 2, 3, 3), (56, 3, 2, 0, 1), (7, 3, 2, 1, 1), (7, 2, 2, 0, 1), (8, 2, 2, 0, 0)],
)
def test_same_padding_matches_tensorflow(length, kernel, stride, before, after):
    ones = torch.ones(1, 1, 4, length, 1)  # only the height needs padding
    padded = SamePadding((2, kernel, 1), (2, stride, 1))(ones)
    assert padded.shape == (1, 1, 4, before + length + after, 1)
    assert torch.equal(padded[:, :, :, before : before + length], ones)
    assert padded.sum() == ones.sum()


def test_i3d_pads_every_strided_layer_once():
    backbone = on_meta("i3d")
    strided = [
        m for m in backbone.modules() if isinstance(m, nn.Conv3d | nn.MaxPool3d) and m.stride not in (1, (1,) * 3)
    ]
    assert len(strided) == sum(isinstance(m, SamePadding) for m in backbone.modules()) == 5
    assert {m.padding for m in strided} == {0, (0, 0, 0)}


@pytest.mark.parametrize("name", [*NEW, "r2d3d18"])
def test_every_parameter_gets_a_gradient(name):
    torch.manual_seed(0)
    backbone = create(name)
    backbone(torch.randn(2, 3, 8, 32, 32)).square().mean().backward()
    assert [key for key, p in backbone.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []


@pytest.mark.parametrize(("name", "eps"), [("r3d_tiny", 1e-3), *((name, 1e-5) for name in NEW)])
def test_initial_weights_have_kaimings_variance_and_norms_the_papers_eps(name, eps):
    """CtP's backbones have their own eps, the others torch's."""
    torch.manual_seed(0)
    convs = [module for module in create(name).modules() if isinstance(module, nn.Conv3d)]
    for conv in convs:
        if conv.weight.numel() > (5000 if name == "r3d_tiny" else 20_000):
            expected = math.sqrt(2 / (conv.out_channels * math.prod(conv.kernel_size)))
            assert conv.weight.std().item() == pytest.approx(expected, rel=0.05)
        assert conv.bias is None or not conv.bias.any()
    assert {(m.eps, m.momentum) for m in on_meta(name).modules() if isinstance(m, nn.BatchNorm3d)} == {(eps, 0.1)}
