"""Runs a few DALI operators on arrays, for tests of the graph."""

from collections.abc import Callable, Sequence

import numpy as np
from nvidia.dali import fn, pipeline_def
from nvidia.dali.data_node import DataNode


def run_graph(
    build: Callable[[dict[str, DataNode]], DataNode],
    samples: Sequence[dict[str, np.ndarray]],
    layouts: dict[str, str] | None = None,
    device: str = "cpu",
) -> list[np.ndarray]:
    """Feed one batch of samples (equal keys) to the graph that `build` makes, and return its output per sample.

    On a GPU ("gpu"), what has a layout is there: pictures. The rest of a plan stays on the CPU.
    """
    names, layouts = list(samples[0]), layouts or {}
    gpu = device == "gpu"

    @pipeline_def(batch_size=len(samples), num_threads=2, device_id=0 if gpu else None, prefetch_queue_depth=1)
    def pipeline():
        nodes = {
            name: fn.external_source(
                # Strides of size-one and transposed axes are none of DALI's concern.
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
