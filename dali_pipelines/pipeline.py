"""The DALI pipeline of one rank: samples in, batches out."""

import warnings
from collections.abc import Callable
from math import ceil
from multiprocessing.connection import wait
from typing import Any

from nvidia.dali import fn, pipeline_def
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline

from dali_pipelines.graph.decode import decode, planes_to_rgb
from dali_pipelines.samples import FIXED, SampleSource

LOOK_S = 0.2  # between looks whether workers live, where one takes long to wake up

Graph = Callable[[DataNode, dict[str, DataNode]], dict[str, DataNode]]


def build_pipeline(
    source: SampleSource,
    graph: Graph,
    *,
    batch_size: int,
    device_id: int | None,
    threads: int,
    workers: int,
    feed: Callable[[Any], tuple] | None = None,
) -> tuple[Pipeline, list[str]]:
    """A built pipeline and the names of its outputs: `row`, `decoded` and what `graph` returns.

    Args:
        source: makes the samples.
        graph: executes a plan on decoded frames; see `dali_pipelines.tasks`.
        device_id: the GPU, or None for the CPU backend.
        threads: DALI's threads; on a GPU each is one NVDEC session.
        workers: processes that make samples; with 0 they are made in this process as batches are asked for.
        feed: called for each sample instead of the schedule of `source`.
    """
    names: list[str] = []

    @pipeline_def(
        batch_size=batch_size,
        num_threads=threads,
        device_id=device_id,
        py_num_workers=max(workers, 1),
        py_start_method="spawn",  # fork is forbidden once CUDA runs, and a rebuilt pipeline comes later than that
    )
    def pipeline() -> tuple[DataNode, ...]:
        nodes = fn.external_source(
            feed or Feed(source),
            num_outputs=len(source.names),
            batch=False,
            parallel=workers > 0,
            # With one batch ahead, the default, workers wait for whoever makes the last sample of it.
            prefetch_queue_depth=1 + ceil(workers / batch_size) if workers else None,
            layout=source.layouts,
        )
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
        outputs = {"row": row, "decoded": decoded} | graph(media, plan)
        names.extend(outputs)
        return tuple(outputs.values())

    built = pipeline()
    with warnings.catch_warnings():  # a graph need not use all that a sample holds
        warnings.filterwarnings("ignore", message="The external source node")
        built.build()
    if workers:
        _Woken(built)
    return built, names


class _Woken:
    """Stands in for the semaphore by which workers of DALI 2.4 say that they are awake.

    To hand out work, DALI wakes a worker that has none and waits until it is awake, for ever if it was killed in its
    sleep. DALI sees a death only where it waits for results, and those of some batches may be there already.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        pool = pipeline._py_pool.pool
        self.ends = [process.sentinel for process in pool._processes]
        condition = pool._general_task_queue.cv_not_empty
        self.semaphore, condition._woken_count = condition._woken_count, self

    def acquire(self, block: bool = True) -> bool:
        """RuntimeError when a worker is dead and none wakes up."""
        while not self.semaphore.acquire(block, LOOK_S if block else None):
            if not block:
                return False
            if wait(self.ends, timeout=0):
                raise RuntimeError("a worker process died while it waited for work")
        return True


class Feed:
    """Turns DALI's count of iterations into places of the schedule: an endless stream, epoch after epoch."""

    def __init__(self, source: SampleSource) -> None:
        self.source = source

    def __call__(self, info: Any) -> tuple:
        epoch, step = self.source.order.at(self.source.start + info.iteration)
        return self.source.sample(epoch, step, info.idx_in_batch)
