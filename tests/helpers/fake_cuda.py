"""A GPU that is not there: tensors without values, which only know that they would be on one.

torch's own rules for mixed devices hold for them, and what a kernel does with values is not seen.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Waits(TorchDispatchMode):
    """Note the operators that copy between the host and the GPU: the host waits for each until the GPU is idle.

    An index on the host is such a copy too, and so is a collective of it, which NCCL refuses. Operators that read a
    value on the host raise by themselves.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [value for value in tree_leaves((args, kwargs, out)) if isinstance(value, Tensor)]
        devices = {value.device.type for value in tensors if value.ndim or "copy" in str(func)}
        if len(devices) > 1 or (func.namespace == "c10d" and devices != {"cuda"}):
            self.found.append(str(func))
        return out


@contextmanager
def fake_cuda(net: nn.Module, *, bf16: bool) -> Iterator[Waits]:
    """Move a network to a GPU that is not there; what the block makes is without values too.

    What is no parameter or buffer of the network stays where it is, as with `net.to`. The network may be on the device
    "meta", without values from the beginning.

    Args:
        bf16: as in `torch.autocast("cuda", torch.bfloat16)`, which is off without a GPU.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), Waits() as waits:
        for module in net.modules():
            for name, parameter in module.named_parameters(recurse=False):
                moved = torch.empty_like(parameter.detach(), device="cuda")
                module.register_parameter(name, nn.Parameter(moved, parameter.requires_grad))
            for name, buffer in module.named_buffers(recurse=False):
                module._buffers[name] = torch.empty_like(buffer, device="cuda")
        waits.found.clear()
        torch.set_autocast_enabled("cuda", bf16)
        torch.set_autocast_dtype("cuda", torch.bfloat16)
        try:
            yield waits
        finally:
            torch.set_autocast_enabled("cuda", False)
            torch.clear_autocast_cache()
