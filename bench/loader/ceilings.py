"""Loaders that do only part of the work: the rate of the whole loader if the rest were free."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from nvidia.dali import fn
from nvidia.dali.data_node import DataNode
from nvidia.dali.pipeline import Pipeline
from nvidia.dali.plugin.pytorch import DALIGenericIterator

from dali_pipelines.datasets.dataset import Dataset
from dali_pipelines.decode.cut import Region
from dali_pipelines.pixels.crop import CropResize
from dali_pipelines.pixels.operation import Nodes, Plan, Schema, View
from dali_pipelines.pixels.program import Program, consecutive_views
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import FIXED, SampleSource
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task

HELD = 16
"""Samples to hold. A sample of 64 frames of 336x256 takes 16 MiB."""


class Corner(CropResize):
    """Cut a corner out of every frame, unscaled: the minimum that the host can convert to RGB."""

    def schema(self, *, views: int, frames: int) -> Schema:
        return {}

    def host(self, plan: Plan, view: View) -> Region:
        return Region(box=(0, 0, self.size, self.size), size=self.size)


class CutTask(Task):
    """Only cut out and scale the views of a task, and deliver one pixel of each."""

    @cached_property
    def program(self) -> Program:
        whole = super().program
        return replace(whole, views=tuple(replace(view, operations=view.operations[:1]) for view in whole.views))

    @property
    def labels(self) -> Schema:
        return {}

    def graph(self, frames: DataNode, plan: Nodes, *, steps: int = 0) -> dict[str, DataNode]:
        """Cut unless the host did, and deliver a pixel of each view."""
        if steps:
            return {"pixel": frames[:1, :1, :1]}
        clips = {view.index: view.crop.dali(view.frames(frames), plan, view) for view in self.program.views}
        return {f"pixel{index}": clip[:1, :1, :1] for index, clip in clips.items()}


class DecodeTask(CutTask):
    """Only decode the frames of a task; if PyAV decodes, cut and scale almost nothing."""

    @cached_property  # used for every sample
    def program(self) -> Program:
        return consecutive_views([Task(self.name, self.cfg).program.frames], Corner(16))

    def graph(self, frames: DataNode, plan: Nodes, *, steps: int = 0) -> dict[str, DataNode]:
        """Deliver a pixel."""
        return {"pixel": frames[:1, :1, :1]}


def augment_only(
    index: Index, task: Task, *, batch_size: int, device: str, threads: int, cut: bool
) -> Iterator[dict[str, torch.Tensor]]:
    """Yield endless batches of a task from HELD samples that were planned and decoded once.

    Their frames are in the memory of `device` and are read in place. So this includes the task's graph and the
    conversion to torch, but not reading, planning or decoding. The plans' arrays, some KB, go to DALI each time, as in
    the loader.

    Args:
        cut: the frames are already cut and scaled, as if PyAV decoded for the loader; else the graph does that.
    """
    index = Dataset(index).long_enough(task).index
    gpu = device != "cpu"
    order = Order(len(index), 1, 0, 1, seed=0, shuffle=True)
    steps = task.program.host_steps(gpu=gpu) if cut else 0
    source = SampleSource(index, task, order, media="frames", steps=steps)
    samples = [dict(zip(source.names, source.read(0, row), strict=True)) for row in range(min(HELD, len(index)))]
    media: list[Any] = [sample["media"] for sample in samples]
    if gpu:
        media = [torch.from_numpy(frames).to(device) for frames in media]
    arrays = [name for name in source.names if name not in FIXED]
    plans = [tuple(sample[name] for name in arrays) for sample in samples]
    device_id = (torch.device(device).index or 0) if gpu else None
    pipeline = Pipeline(batch_size=batch_size, num_threads=threads, device_id=device_id)
    with pipeline:
        frames = fn.external_source(
            lambda info: media[info.idx_in_epoch % len(media)],
            batch=False,
            device="gpu" if gpu else "cpu",
            layout="FHWC",
            no_copy=True,
        )
        nodes = fn.external_source(
            lambda info: plans[info.idx_in_epoch % len(plans)], num_outputs=len(arrays), batch=False
        )
        made = task.graph(frames, dict(zip(arrays, nodes, strict=True)), steps=steps)
        pipeline.set_outputs(*made.values())
    pipeline.build()
    for batch in DALIGenericIterator(pipeline, list(made), prepare_first_batch=False):
        yield batch[0]
