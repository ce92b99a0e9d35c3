"""Check a GPU graph without a GPU, by DALI's front end and operator registry.

Kernels, dtypes and layouts are not checked: their faults show only when a graph runs.
"""

from collections.abc import Callable
from unittest.mock import patch

from nvidia.dali import backend
from nvidia.dali.pipeline import Pipeline

REGISTERED = {  # from DALI's extension module, which has no types
    "cpu": set(backend.RegisteredCPUOps()),  # type: ignore[attr-defined]
    "gpu": set(backend.RegisteredGPUOps()),  # type: ignore[attr-defined]
    "mixed": set(backend.RegisteredMixedOps()),  # type: ignore[attr-defined]
}

MULTI_PASTE = (
    "it reads every input with the row pitch of the first one, and its kernel runs off its table where the last block "
    "of a row has fewer than 32 values (MultiPasteGPU::SetupTyped and PasteKernel of DALI 2.4)"
)
REFUSED = {("MultiPaste", "gpu"): MULTI_PASTE}
"""(schema, device) -> why the operator must not be used, although it exists."""


def problems(make: Callable[[], Pipeline]) -> list[str]:
    """List the faults of the pipeline that `make` creates with `device_id=0`; it need not be built.

    Raises:
        KeyError, RuntimeError, ValueError: From DALI, for unknown arguments, named arguments on a GPU, too many inputs,
            and inputs on the wrong device.
    """
    with patch.object(Pipeline, "build"):
        pipeline = make()
    pipeline._device_id = None  # else `serialize` asks the driver for its device
    pipeline.serialize()  # adds the operators to the backend's pipeline, which checks them
    found = []
    for node in pipeline._ops:
        schema, device = node._op.schema.Name(), node._op.device
        if schema not in REGISTERED[device]:
            found.append(f"{schema} is not registered for {device}")
        if (schema, device) in REFUSED:
            found.append(f"{schema} must not be used: {REFUSED[schema, device]}")
    return found
