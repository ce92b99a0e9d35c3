"""Networks and losses of the pretext tasks, one module each, found by file name."""

import pkgutil
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from configs.errors import UserError
from configs.plugins import import_task
from nets.backbones import Backbone, create

Schema = Mapping[str, tuple[tuple[int, ...], str]]
"""Name in the batch -> shape and dtype of one sample, e.g. {"clips": ((3, 16, 112, 112), "float32")}."""


class Pretext(nn.Module):
    """Map a batch of a pretext task to its loss.

    A batch follows the task's schema. The result is a dict of scalars: `loss`, the only one with a gradient, and terms
    for the log, the same on all ranks, with names other than the log's own, such as `step` and `lr`. The module's
    METRIC names the term that shows whether the task is being learned (higher is better); the term `chance` is its
    value for a network that ignores the clips.

    Every trainable parameter contributes to every loss: DDP waits for its gradient. `state_dict` holds all state that a
    resumed run needs; all random numbers come from torch's global generator.
    """

    backbone: Backbone
    """The network to pretrain."""

    if TYPE_CHECKING:  # nn.Module's returns Any

        def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]: ...

    def check_batch(self, per_rank: int, ranks: int) -> None:
        """Raise UserError if the loss cannot be computed with this many samples per rank and micro-step."""

    def before_step(self, epoch: int) -> None:
        """Prepare an optimizer step before its first forward pass; `epoch` counts from 0."""

    def after_backward(self, epoch: int) -> None:
        """Adjust the step's complete gradients before clipping; some may become None."""

    def picture(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return clips that show the network's output for a batch, for `reconstruction.png`; by default none.

        Caption -> (B, 3, T, H, W), colors in 0..1. Called in eval mode, without gradients, on one rank.
        """
        return {}


def pretext_tasks() -> list[str]:
    """List the tasks that have a network here, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def net_module(name: str) -> ModuleType:
    """Import the network side of a task: the module of that name here, or `my_pkg.my_task.net`."""
    return import_task(name, package=__name__, part="net")


def build_task(name: str, backbone: str, schema: Schema, cfg: Any) -> Pretext:
    """Build the network of a task around a new backbone.

    `cfg` is the `Config` of `nets/tasks/<name>.py`. UserError for an unknown task or backbone, or if what another
    package built is no `Pretext` with that backbone.
    """
    module = net_module(name)
    network = module.build(backbone, schema, cfg)
    backbone_of = getattr(network, "backbone", None)
    if not isinstance(network, Pretext) or not isinstance(backbone_of, nn.Module) or not hasattr(backbone_of, "stride"):
        raise UserError(
            f"{module.__file__}: build returned {type(network).__name__}; subclass nets.tasks.Pretext, with the "
            "network to pretrain as `self.backbone`, as `nets.backbones.create` makes it"
        )
    if "." in name:
        with torch.random.fork_rng(devices=[]):  # the numbers that follow stay the same
            asked = create(backbone)
        if _shapes(backbone_of) != _shapes(asked):
            raise UserError(
                f"{module.__file__}: build made a {type(backbone_of).__name__} with other weights than {backbone}, a "
                f"{type(asked).__name__}, so nothing could load them: `self.backbone` must be what "
                "`nets.backbones.create(backbone)` makes"
            )
    return network


def _shapes(net: nn.Module) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight by name."""
    return {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
