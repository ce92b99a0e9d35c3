"""The DALI pipeline of one rank: samples in, batches out."""

import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from nvidia.dali import fn, pipeline_def
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline

from dali_pipelines.decode.dali import decode, planes_to_rgb
from dali_pipelines.samples import FIXED, Sample, SampleSource

Graph = Callable[[DataNode, dict[str, DataNode]], dict[str, DataNode]]

os.environ.setdefault("DALI_MALLOC_POOL_THRESHOLD", "1M")
"""DALI reuses host buffers of at least this size; it reads this before allocating the first. With the default, 32 MiB,
smaller batches go back to the system each time, which clears their pages again."""


def build_pipeline(
    source: SampleSource,
    *,
    graph: Graph | None = None,
    batch_size: int,
    device_id: int | None,
    threads: int,
    feed: Callable[..., Sample] | None = None,
    ahead: int = 2,
) -> tuple[Pipeline, list[str]]:
    """Build a pipeline; return it and the names of its outputs: `row`, `decoded` and what `graph` returns.

    Args:
        source: makes the samples.
        graph: maps the frames and the plan's arrays to outputs; None for the task's own graph.
        device_id: the GPU, or None for the CPU backend.
        threads: DALI's threads; on a GPU each is one NVDEC session.
        feed: called for each sample; by default `source` makes samples in this process on demand.
        ahead: batches made while one is in use.
    """
    names: list[str] = []

    def sample(info: Any) -> Sample:
        return source.sample(source.position(info.iteration, info.idx_in_batch))

    build: Graph = graph or partial(source.task.graph, steps=source.steps)

    @pipeline_def(batch_size=batch_size, num_threads=threads, device_id=device_id, prefetch_queue_depth=ahead)
    def pipeline() -> tuple[DataNode, ...]:
        nodes = fn.external_source(feed or sample, num_outputs=len(source.names), batch=False, layout=source.layouts)
        plan = dict(zip(source.names, nodes, strict=True))
        row, decoded, media = (plan.pop(name) for name in FIXED)
        gpu = device_id is not None
        if source.media == "encoded":
            media = decode(media, plan.pop("frames"), gpu=gpu)
        elif gpu:
            media = media.gpu()
        if source.media == "planes":
            chroma = plan.pop("chroma")
            media = planes_to_rgb(media, chroma.gpu() if gpu else chroma, plan.pop("matrix"))
        if source.media != "frames":
            media = fn.sequence_rearrange(media, new_order=plan.pop("order"))
        outputs = {"row": row, "decoded": decoded} | build(media, plan)
        names.extend(outputs)
        return tuple(outputs.values())

    built = pipeline()
    with warnings.catch_warnings():  # a graph need not use every array of a sample
        warnings.filterwarnings("ignore", message="The external source node")
        built.build()
    return built, names
