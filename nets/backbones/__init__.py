"""The registry of backbones.

To add one, write a file with a `Backbone` and register it below: a callable without arguments in `FIXED`, or one that
takes the strides of four stages in `STRIDED`. A backbone of another package needs no entry:
`backbone: my_pkg.my_net.make` calls that function.
"""

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from torch import Tensor

from configs.errors import UserError
from configs.plugins import look_up
from nets.backbones import c3d, inception, r2d3d, resnet
from nets.backbones.base import Backbone, Stride
from nets.backbones.frame_transformer import FrameTransformer
from nets.backbones.vit import ViT

__all__ = ["BACKBONES", "DEFAULT_STRIDES", "FIXED", "STRIDED", "Backbone", "Stride", "create"]

STRIDED: dict[str, Callable[[Sequence[Stride]], Backbone]] = {
    "r3d18": partial(resnet.r3d18, eps=1e-3),
    "r2plus1d18": resnet.r2plus1d18,
    "torchvision_r3d18": partial(resnet.r3d18, eps=1e-5),
    "torchvision_r2plus1d18": partial(resnet.torchvision_r2plus1d, blocks=(2, 2, 2, 2)),
    "r2plus1d10": partial(resnet.torchvision_r2plus1d, blocks=(1, 1, 1, 1)),
    "r2plus1d10_cstp": resnet.r2plus1d10_cstp,
    "resnet3d10": partial(resnet.resnet3d, blocks=(1, 1, 1, 1)),
    "resnet3d18": partial(resnet.resnet3d, blocks=(2, 2, 2, 2)),
    "resnet3d34": partial(resnet.resnet3d, blocks=(3, 4, 6, 3)),
    "r3d_tiny": resnet.r3d_tiny,
}

_resnet18_transformer = partial(FrameTransformer, widths=(64, 128, 256, 256), blocks=2, feedforward=2048)

FIXED: dict[str, Callable[[], Backbone]] = {
    "c3d": c3d.C3D,
    "s3dg": inception.S3DG,
    "i3d": inception.I3D,
    "r2d3d18": partial(r2d3d.r2d3d, blocks=(2, 2, 2, 2)),
    "r2d3d34": partial(r2d3d.r2d3d, blocks=(3, 4, 6, 3)),
    "resnet18_transformer": _resnet18_transformer,
    "resnet18_transformer_relu": partial(_resnet18_transformer, relu=True),
    # For CPUs, as r3d_tiny and vit_tiny. With three stages, its feature maps have twice the resolution.
    "resnet_tiny_transformer": partial(FrameTransformer, widths=(16, 32, 64), blocks=1, feedforward=128),
    "vit_s16": partial(ViT, width=384, depth=12, heads=6),
    "vit_b16": partial(ViT, width=768, depth=12, heads=12),
    "vit_l16": partial(ViT, width=1024, depth=24, heads=16, grid_positions=True),
    "vit_h16": partial(ViT, width=1280, depth=32, heads=16, grid_positions=True),
    "vit_tiny": partial(ViT, width=96, depth=4, heads=3, patch=8, grid_positions=True),  # finds its neighbors sooner
}

BACKBONES: Mapping[str, Callable[..., Backbone]] = ChainMap(FIXED, STRIDED)
"""Both, by name."""

DEFAULT_STRIDES = (1, 2, 2, 2)


def create(
    name: str,
    *,
    spatial_strides: Sequence[int] = DEFAULT_STRIDES,
    temporal_strides: Sequence[int] = DEFAULT_STRIDES,
) -> Backbone:
    """Create a backbone with random weights.

    Args:
        name: an entry of `BACKBONES`, or a function in another package, such as "my_pkg.parts.tiny".
        spatial_strides: of the four stages. Strides do not change weight shapes, so a checkpoint fits every variant.
        temporal_strides: of the four stages.

    Raises:
        UserError: the name is not in the registry, the backbone has fixed strides that differ, or what another package
            made is no backbone.
    """
    make = look_up(name, BACKBONES, key="backbone")
    if name in STRIDED:
        return make([(t, s, s) for t, s in zip(temporal_strides, spatial_strides, strict=True)])
    if (tuple(spatial_strides), tuple(temporal_strides)) != (DEFAULT_STRIDES, DEFAULT_STRIDES):
        raise UserError(
            f"the task needs strides {tuple(spatial_strides)} in space and {tuple(temporal_strides)} in time; "
            f"those of {name} are fixed: choose one of {', '.join(STRIDED)}"
        )
    backbone = make()
    if missing := [key for key in ("forward", "out_channels", "stride") if not hasattr(backbone, key)]:
        raise UserError(
            f"backbone: {name} returned {type(backbone).__name__} without {' and '.join(missing)}; "
            "subclass nets.backbones.Backbone as in docs/extending.md"
        )
    if not isinstance(backbone.stride, Sequence) or len(backbone.stride) != 3:
        raise UserError(f"backbone: {name} has stride = {backbone.stride!r}; three are needed, as (2, 16, 16)")
    if "." in name:
        backbone.register_forward_hook(partial(_check_features, name))
    return backbone


def _check_features(name: str, backbone: Backbone, inputs: tuple[Tensor, ...], features: Tensor) -> None:
    """Raise UserError unless a backbone of another package returns feature maps of its `out_channels` and `stride`."""
    shape = tuple(getattr(features, "shape", ()))
    if len(shape) != 5 or shape[1] != backbone.out_channels:
        found = f"features of shape {shape}" if shape else type(features).__name__
        raise UserError(
            f"backbone: {name} returned {found}; (B, C, T', H', W') is needed, without pooling, where C is "
            f"out_channels = {backbone.out_channels}"
        )
    sides = zip(inputs[0].shape[2:], shape[2:], backbone.stride, strict=True)
    if any(found not in (side // stride, -(-side // stride)) for side, found, stride in sides):
        raise UserError(
            f"backbone: {name} returned a feature map of {shape[2:]} for clips of {tuple(inputs[0].shape[2:])}, which "
            f"its stride = {tuple(backbone.stride)} does not lead to"
        )
