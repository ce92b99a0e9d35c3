"""Backbones as programs that run without their Python code: torch.export and ONNX.

Both take clips (B, 3, T, H, W) of any batch size B and the T, H and W of training. A program is written only if, when
loaded again, it computes what the network does.
"""

import io
import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from configs.errors import UserError
from nets.backbones import Backbone

ANY_BATCH = ({0: torch.export.Dim("batch")},)
BATCHES = (1, 3)
"""Batch sizes of the comparison; tracing uses another one."""
TOLERANCE = 1e-3
"""Largest difference, in standard deviations of the features."""


def torch_export(net: Backbone, clip: Tensor) -> bytes:
    """Write a network in eval mode as a program of torch.export; `clip` is (3, T, H, W). UserError if that fails."""
    traced = torch.export.export(net, (clip.expand(2, -1, -1, -1, -1),), dynamic_shapes=ANY_BATCH)
    file = io.BytesIO()
    torch.export.save(traced, file)
    file.seek(0)
    compare(net, clip, torch.export.load(file).module())
    return file.getvalue()


def onnx(net: Backbone, clip: Tensor) -> bytes:
    """Write a network in eval mode as ONNX, with input `clips` and output `features`; otherwise like `torch_export`."""
    try:
        import onnxruntime
        import onnxscript  # noqa: F401 torch.onnx needs it
    except ModuleNotFoundError as error:
        raise UserError(f"ONNX needs {error.name}: pip install 'clipfeed[onnx]'") from error
    program = torch.onnx.export(
        net,
        (clip.expand(2, -1, -1, -1, -1),),
        dynamo=True,
        verbose=False,
        input_names=["clips"],
        output_names=["features"],
        dynamic_shapes=ANY_BATCH,
    )
    assert program is not None
    content: bytes = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    compare(net, clip, lambda clips: torch.from_numpy(session.run(None, {"clips": clips.numpy()})[0]))
    return content


def compare(net: Backbone, clip: Tensor, program: Callable[[Tensor], Tensor]) -> None:
    """Compare a program with its network. UserError if their outputs differ."""
    for batch in BATCHES:
        clips = clip + 0.1 * torch.randn(batch, *clip.shape, generator=torch.Generator().manual_seed(batch))
        expected = net(clips)
        difference = (program(clips) - expected).abs().max() / expected.std()
        if not difference <= TOLERANCE:
            raise UserError(f"its output differs from the network's by {difference:.2g} standard deviations")


FORMATS: dict[str, Callable[[Backbone, Tensor], bytes]] = {".pt2": torch_export, ".onnx": onnx}
"""Suffix -> function that writes the format."""


def program(net: Backbone, name: str, clip: Tensor, suffix: str) -> bytes:
    """Write the network as a program of the suffix's format. UserError if that fails, or a package is missing."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # it uses an operator that only PyTorch has
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from torch about its own code
            return FORMATS[suffix](net, clip)
    except Exception as error:  # tracing raises whatever the network's code raises
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"{name} cannot be written as {suffix}: {reason}") from error
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
