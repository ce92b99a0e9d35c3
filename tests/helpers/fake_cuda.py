"""Simulate a GPU with fake tensors, which have a device but no values.

torch's own rules for mixed devices apply to them; what kernels compute is not tested.
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
    """Record operators that copy between host and GPU: for each, the host waits until the GPU is idle.

    Indexing with a host tensor is such a copy; a collective of one, which NCCL refuses, counts too. Operators that read
    a value on the host raise by themselves.
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
    """Move a network to a fake GPU; tensors made in the block have no values either.

    Tensors that are not parameters or buffers stay where they are, as with `net.to`. The network may be on the "meta"
    device.

    Args:
        bf16: Autocast as `torch.autocast("cuda", torch.bfloat16)` does, which is off without a GPU.
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
