"""Backbones by name.

To add one, write a function of no arguments that makes it and enter it in `PLAIN`; where the strides of its four
stages can be chosen, a function of those, entered in `STRIDED`. One of another package needs no entry:
`backbone: my_pkg.my_net.make` calls that function.
"""

import difflib
from collections.abc import Callable, Sequence
from functools import partial

from configs.errors import UserError
from configs.plugins import look_up
from nets.backbones import c3d, frame_transformer, inception, r2d3d, resnet
from nets.backbones.base import Backbone, Stride

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

PLAIN: dict[str, Callable[[], Backbone]] = {
    "c3d": c3d.C3D,
    "s3dg": inception.S3DG,
    "i3d": inception.I3D,
    "r2d3d18": r2d3d.R2D3D,
    "resnet18_transformer": frame_transformer.resnet18_transformer,
    "resnet18_transformer_relu": partial(frame_transformer.resnet18_transformer, relu=True),
    "resnet_tiny_transformer": frame_transformer.resnet_tiny_transformer,
}

USUAL = (1, 2, 2, 2)


def create(
    name: str,
    *,
    spatial_strides: Sequence[int] = USUAL,
    temporal_strides: Sequence[int] = USUAL,
) -> Backbone:
    """Makes the backbone `name`, with these strides of its four stages on top of its stem's.

    Strides change no weight's shape: a checkpoint fits every variant. Raises UserError for an unknown name, and for
    other strides than the usual ones where they cannot be chosen.
    """
    if name in STRIDED:
        return STRIDED[name]([(t, s, s) for t, s in zip(temporal_strides, spatial_strides, strict=True)])
    if name not in PLAIN and "." not in name:
        names = [*STRIDED, *PLAIN]
        (nearest,) = difflib.get_close_matches(name, names, n=1, cutoff=0)
        raise UserError(f"unknown backbone {name!r}: did you mean {nearest}? There are {', '.join(names)}")
    make = look_up(name, PLAIN, key="backbone")
    if (tuple(spatial_strides), tuple(temporal_strides)) != (USUAL, USUAL):
        raise UserError(
            f"the task needs strides {tuple(spatial_strides)} in space and {tuple(temporal_strides)} in time; "
            f"{name} has its own: choose one of {', '.join(STRIDED)}"
        )
    return make()
