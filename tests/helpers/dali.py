"""Run DALI graphs and operations on arrays."""

from collections.abc import Callable, Sequence

import numpy as np
from nvidia.dali import fn, pipeline_def
from nvidia.dali.data_node import DataNode

from dali_pipelines.pixels.operation import ClipOperation, Operation, Plan, View


def run_graph(
    build: Callable[[dict[str, DataNode]], DataNode],
    samples: Sequence[dict[str, np.ndarray]],
    layouts: dict[str, str] | None = None,
    device: str = "cpu",
) -> list[np.ndarray]:
    """Run the graph of `build` on one batch of samples with equal keys; return the output of each sample.

    With device "gpu", inputs with a layout (pictures) are on the GPU; the rest of a plan stays on the CPU.
    """
    names, layouts = list(samples[0]), layouts or {}
    gpu = device == "gpu"

    @pipeline_def(batch_size=len(samples), num_threads=2, device_id=0 if gpu else None, prefetch_queue_depth=1)
    def pipeline():
        nodes = {
            name: fn.external_source(
                # C order keeps strides of size-one and transposed axes away from DALI.
                (lambda key: lambda: [np.asarray(sample[key], order="C") for sample in samples])(name),
                layout=layouts.get(name, ""),
                batch=True,
            )
            for name in names
        }
        return build({name: node.gpu() if gpu and name in layouts else node for name, node in nodes.items()})

    built = pipeline()
    built.build()
    (output,) = built.run()
    return [np.array(output.as_cpu().at(place)) for place in range(len(samples))]


def in_dali(
    operation: Operation,
    clips: Sequence[np.ndarray],
    plans: Sequence[Plan],
    *,
    view: View | None = None,
    device: str = "cpu",
) -> list[np.ndarray]:
    """Execute an operation on a batch of clips, uint8 (T, H, W, 3), in DALI."""
    view = view or View(len(clips[0]), (operation,))
    samples = [{"clip": clip, **plan} for clip, plan in zip(clips, plans, strict=True)]
    return run_graph(lambda n: operation.dali(n["clip"], n, view), samples, {"clip": "FHWC"}, device)


def on_host(operation: ClipOperation, clip: np.ndarray, plan: Plan, *, view: View | None = None) -> np.ndarray:
    """Execute an operation on a clip, uint8 (T, H, W, 3), on the host."""
    changed = clip.copy()
    operation.host(changed, plan, view or View(len(clip), (operation,)))
    return changed
