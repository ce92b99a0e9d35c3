"""From a batch to a loss: one module per pretext task, found by its file name."""

import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from torch import nn

from configs.errors import UserError

Schema = Mapping[str, tuple[tuple[int, ...], str]]
"""Name in the batch -> shape and dtype of one sample, e.g. {"clips": ((3, 16, 112, 112), "float32")}."""


def build_task(name: str, backbone: str, schema: Schema, cfg: Any) -> nn.Module:
    """Builds the network of the task `nets/tasks/<name>.py` around the backbone of that name.

    `cfg` is the `Config` of the task's module. The network maps a batch that follows `schema` to a dict of
    scalars: `loss`, which carries the gradient, and named terms for the log. What pretraining is for is its
    attribute `backbone`. Raises UserError for an unknown task or backbone.
    """
    names = [module.name for module in pkgutil.iter_modules(__path__)]
    if name not in names:
        raise UserError(f"unknown task {name!r}: nets/tasks has {', '.join(names)}")
    return importlib.import_module(f"{__name__}.{name}").build(backbone, schema, cfg)
