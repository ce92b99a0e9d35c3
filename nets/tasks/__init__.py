"""From a batch to a loss: one module per pretext task, found by its file name."""

import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import nn

from configs.plugins import import_task
from nets.backbones.base import Backbone

Schema = Mapping[str, tuple[tuple[int, ...], str]]
"""Name in the batch -> shape and dtype of one sample, e.g. {"clips": ((3, 16, 112, 112), "float32")}."""


class Pretext(nn.Module):
    """The network of a task with its loss.

    It maps a batch that follows the task's schema to a dict of scalars: `loss`, which carries the gradient, and named
    terms for the log. The module's METRIC names the term that shows whether the task is being learned, the higher the
    better; the term `chance` is what a network that ignores the clips would have of it.

    Every trainable parameter takes part in every loss: DDP waits for their gradients. All state that a resumed run
    needs is in `state_dict`; the network draws random numbers from torch's generator alone.
    """

    backbone: Backbone
    """What pretraining is for."""

    def check_batch(self, per_rank: int, ranks: int) -> None:
        """UserError when the loss cannot work with so many samples a rank and micro-step."""

    def before_step(self, epoch: int) -> None:
        """Called before each optimizer step's forward passes, with the epoch that it begins in, from 0."""

    def after_backward(self, epoch: int) -> None:
        """Called when the step's gradients are complete, before they are clipped. May set some to None."""


def pretext_tasks() -> list[str]:
    """The tasks that have a network here: those that one can pretrain with."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def net_module(name: str) -> ModuleType:
    """Import the network side of a task: the module of that name here, or `my_pkg.my_task.net`."""
    return import_task(name, package=__name__, part="net")


def build_task(name: str, backbone: str, schema: Schema, cfg: Any) -> Pretext:
    """Builds the network of the task `nets/tasks/<name>.py` around the backbone of that name.

    `cfg` is the `Config` of the task's module. Raises UserError for an unknown task or backbone.
    """
    return net_module(name).build(backbone, schema, cfg)
