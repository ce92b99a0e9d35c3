"""The batches of a pipeline as torch tensors, and when the pipeline starts the next one."""

import ctypes
import os
from collections.abc import Sequence

import torch
from nvidia.dali.pipeline import Pipeline
from torch import Tensor

from configs.errors import UserError


class Batches:
    """Take batches from a pipeline, endlessly and without copying.

    Starting a batch takes milliseconds: DALI asks for its samples in this thread. On a CPU, the next one starts as soon
    as a batch is taken. A GPU would be idle meanwhile, since this thread launches its work too. So there it starts in
    `refill`, which is to be called while the GPU is busy; without that call, it starts when the next batch is taken.
    `names` are those of the pipeline's outputs, in order.
    """

    def __init__(self, pipeline: Pipeline, names: Sequence[str]) -> None:
        self._pipeline, self._names = pipeline, names
        self._late = pipeline.device_id is not None
        self._due = True
        self._error: RuntimeError | None = None
        self._process = os.getpid()

    def __del__(self) -> None:
        """Skip freeing the pipeline in a fork, where DALI would wait forever for threads that are not there."""
        if os.getpid() != self._process:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._pipeline))

    def refill(self) -> None:
        """Start another batch if one was taken. An error is raised when the next batch is taken."""
        if self._due:
            self._due = False
            try:
                self._pipeline.schedule_run()
            except RuntimeError as error:
                self._error = error

    def __next__(self) -> dict[str, Tensor]:
        """Return the next batch, each output on its own device.

        RuntimeError if DALI could not make it; no more can be taken. UserError in a fork of the process that made the
        pipeline.
        """
        if os.getpid() != self._process:
            raise UserError("a forked process cannot use its parent's loader while it is open: make a loader in it")
        self.refill()
        if self._error:
            raise self._error
        outputs = self._pipeline.share_outputs()  # waits until they are made, on a GPU too
        made = [torch.from_dlpack(output.as_tensor()) for output in outputs]
        self._pipeline.release_outputs()
        self._due = True
        if not self._late:
            self.refill()
        return dict(zip(self._names, made, strict=True))
