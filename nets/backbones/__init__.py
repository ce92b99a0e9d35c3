"""The registry of backbones.

To add one, write a file with a `Backbone`, and enter it below: in `FIXED` a callable without arguments, or in `STRIDED`
one that takes the strides of four stages. One of another package needs no entry: `backbone: my_pkg.my_net.make` calls
that function.
"""

from collections import ChainMap
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from configs.errors import UserError
from configs.plugins import look_up
from nets.backbones import c3d, frame_transformer, inception, r2d3d, resnet, vit
from nets.backbones.base import Backbone, Stride

__all__ = ["BACKBONES", "DEFAULT_STRIDES", "FIXED", "STRIDED", "Backbone", "Stride", "create"]

STRIDED: dict[str, Callable[[Sequence[Stride]], Backbone]] = {
    "r3d18": resnet.r3d18,
    "r2plus1d18": resnet.r2plus1d18,
    "torchvision_r3d18": resnet.torchvision_r3d18,
    "torchvision_r2plus1d18": resnet.torchvision_r2plus1d18,
    "r2plus1d10": resnet.r2plus1d10,
    "r2plus1d10_cstp": resnet.r2plus1d10_cstp,
    "resnet3d10": partial(resnet.resnet3d, blocks=(1, 1, 1, 1)),
    "resnet3d18": partial(resnet.resnet3d, blocks=(2, 2, 2, 2)),
    "resnet3d34": partial(resnet.resnet3d, blocks=(3, 4, 6, 3)),
    "r3d_tiny": resnet.r3d_tiny,
}

FIXED: dict[str, Callable[[], Backbone]] = {
    "c3d": c3d.C3D,
    "s3dg": inception.S3DG,
    "i3d": inception.I3D,
    "r2d3d18": partial(r2d3d.r2d3d, blocks=(2, 2, 2, 2)),
    "r2d3d34": partial(r2d3d.r2d3d, blocks=(3, 4, 6, 3)),
    "resnet18_transformer": frame_transformer.resnet18_transformer,
    "resnet18_transformer_relu": partial(frame_transformer.resnet18_transformer, relu=True),
    "resnet_tiny_transformer": frame_transformer.resnet_tiny_transformer,
    "vit_s16": vit.vit_s16,
    "vit_b16": vit.vit_b16,
    "vit_l16": vit.vit_l16,
    "vit_h16": vit.vit_h16,
    "vit_tiny": vit.vit_tiny,
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
        name: in the registry, `BACKBONES`, or of a function in another package, such as "my_pkg.parts.tiny".
        spatial_strides: of its four stages. Strides change no weight's shape, so a checkpoint fits every variant.
        temporal_strides: likewise.

    Raises:
        UserError: the name is not in the registry, or the strides of this backbone are fixed and differ.
    """
    make = look_up(name, BACKBONES, key="backbone")
    if name in STRIDED:
        return make([(t, s, s) for t, s in zip(temporal_strides, spatial_strides, strict=True)])
    if (tuple(spatial_strides), tuple(temporal_strides)) != (DEFAULT_STRIDES, DEFAULT_STRIDES):
        raise UserError(
            f"the task needs strides {tuple(spatial_strides)} in space and {tuple(temporal_strides)} in time; "
            f"those of {name} are fixed: choose one of {', '.join(STRIDED)}"
        )
    return make()
