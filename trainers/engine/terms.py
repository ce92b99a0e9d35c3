"""What a network returns for a batch, and what its loss trains: checked, since it may be of another package."""

from collections.abc import Mapping

from torch import Tensor

from configs.errors import UserError, first_names
from configs.words import counted
from nets.tasks import Pretext, net_module

OF_THE_LOG = (
    "step",
    "epoch",
    "lr",
    "grad_norm",
    "online_top1",
    "rankme",
    "clips_per_s",
    "data_wait",
    "amplification",
    "unreadable_videos",
    "replaced_samples",
    "rss_mib",
    "cuda_peak_mib",
    "time",
)
"""What a line of metrics.jsonl has besides a task's terms."""


def check_terms(out: Mapping[str, Tensor], task: str) -> None:
    """Raise UserError unless a network's output is as `nets.tasks.Pretext` says, and its names are free."""
    if fault := _fault(out):
        raise UserError(
            f"task {task}: the network returns {fault}; it must return a dict of scalar tensors on one device: `loss`, "
            "with a gradient, and terms for the log"
        )
    if taken := [name for name in OF_THE_LOG if name in out]:
        raise UserError(
            f"task {task}: the network returns terms named {', '.join(taken)}, as figures of the log are, whose places "
            "they would take: choose other names"
        )


def check_first_step(out: Mapping[str, Tensor], net: Pretext, task: str) -> None:
    """Raise UserError if METRIC is not among the terms, or if trainable parameters are left without a gradient.

    Those would never be trained, and several ranks would fail: DDP waits for every gradient.
    """
    if task != "recognition" and (metric := net_module(task).METRIC) not in out:
        raise UserError(
            f"task {task}: METRIC = {metric!r} names none of the terms that the network returns: {', '.join(out)}"
        )
    parameters = [*net.named_parameters()]
    if idle := [name for name, parameter in parameters if parameter.requires_grad and parameter.grad is None]:
        raise UserError(
            f"task {task}: the loss depends on no {first_names(idle)}, {len(idle)} of "
            f"{counted(len(parameters), 'parameter')}: use them, or keep them from training by requires_grad_(False)"
        )


def _fault(out: object) -> str:
    if not isinstance(out, Mapping):
        return f"an object of type {type(out).__name__}"
    loss = out.get("loss")
    if not isinstance(loss, Tensor) or not loss.requires_grad:
        return "no loss, or one without a gradient"
    for name, value in out.items():
        if not isinstance(value, Tensor):
            return f"{name} of type {type(value).__name__}"
        if value.ndim or value.device != loss.device:
            return f"{name} of shape {tuple(value.shape)} on {value.device}"
    return ""
