"""Make a loader's batches from samples, replace what turns out to be unreadable, and count."""

import logging
import math
from dataclasses import dataclass, replace
from threading import RLock
from typing import Any

import numpy as np
import torch

from configs.errors import UserError
from configs.words import counted
from dali_pipelines.batches import Batches
from dali_pipelines.decode.dali import first_cause
from dali_pipelines.feed import Feed, memory_ahead
from dali_pipelines.pipeline import build_pipeline
from dali_pipelines.recovery import damaged, samples_of, why_unreadable
from dali_pipelines.samples import SampleSource
from dali_pipelines.worker import stop_at_exit

log = logging.getLogger(__name__)

MOST_TIMES = 10
"""How often a batch is made whose videos fail for a moment."""


@dataclass
class Counts:
    """Totals since the loader was created."""

    samples: int = 0
    frames: int = 0
    frames_decoded: int = 0
    replaced: int = 0

    @property
    def amplification(self) -> float:
        """Frames decoded / frames delivered."""
        return self.frames_decoded / max(self.frames, 1)


class Delivery:
    """Make one batch after the other from the samples of `feed`, on a GPU or, without `device_id`, on the CPU."""

    def __init__(self, feed: Feed, *, device_id: int | None, threads: int) -> None:
        self.counts = Counts()
        self._feed, self._unreadable = feed, feed.unreadable
        self._device_id, self._threads = device_id, threads
        self._batches: Batches | None = None
        self.lock = RLock()
        """For those who call it from several threads."""

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy gets: it builds a pipeline of its own."""
        return self.__dict__ | {"_batches": None, "lock": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Make a copy, with a lock of its own."""
        self.__dict__ |= state | {"lock": RLock()}

    def __del__(self) -> None:
        """End the workers of a loader that is dropped: its feed and its pipeline are in cycles, which may live long."""
        self.close()

    def next(self, source: SampleSource) -> dict[str, torch.Tensor]:
        """Return the batch at `source.start`, the step after the last one unless `rewind` came in between."""
        rebuilt, made = False, 0
        while True:
            if self._batches is None:
                self._batches = self._build(self._now(source))
            try:
                batch = next(self._batches)
                if batch["row"].min() >= 0:
                    return self._complete(batch, self._now(source))
                samples_of(self._now(source))  # raises if some slot still has no stand-in
                made += 1
                if made == MOST_TIMES:
                    raise UserError(
                        f"step {source.start}: {made} times, a video and its stand-ins could not be read, and could "
                        "a moment later: look at the storage, and at the limits of worker processes (ulimit -a)"
                    )
                log.warning("step %d is made again: a video and all its stand-ins failed for a moment", source.start)
                self.rewind()
            except RuntimeError as error:  # DALI raises no other kind
                stop_at_exit()  # it ends all pipelines there, even one that a thread uses
                self.rewind()
                reasons = damaged(self._now(source), error, device_id=self._device_id)
                if not reasons and rebuilt:
                    raise
                if not reasons:  # e.g. out of memory: not expected twice at one step
                    log.warning("step %d: rebuilding the pipeline after: %s", source.start, first_cause(error))
                    rebuilt = True
                for row, reason in reasons.items():
                    self._unreadable.add(row, reason)
            except BaseException:  # Ctrl-C, say, or a task's own: what was made ahead no longer fits the step
                self.close()
                stop_at_exit()  # an ended pipeline also raises AttributeError
                raise

    def refill(self) -> None:
        """Start another batch on a GPU, to replace the one taken last."""
        if self._batches:
            try:
                self._batches.refill()
            except BaseException:  # as in `next`
                self.close()
                raise

    def rewind(self) -> None:
        """Discard samples and batches made ahead."""
        self._batches = None
        self._feed.rewind()

    def close(self) -> None:
        """End the worker processes and free the pipeline; `next` recreates them."""
        self._batches = None
        self._feed.close()

    def _now(self, source: SampleSource) -> SampleSource:
        """Return the source, which replaces all videos that are known to be unreadable by now."""
        return replace(source, unreadable=self._unreadable.rows)

    def _build(self, source: SampleSource) -> Batches:
        if self._device_id is not None and self._device_id >= (usable := torch.cuda.device_count()):
            found = f"torch finds {counted(usable, 'usable GPU')}"
            raise UserError(
                f"device='cuda:{self._device_id}': {found}; `clipfeed doctor` says why, device='cpu' needs none"
            )
        pipeline, names = build_pipeline(
            source,
            batch_size=source.order.batch_size,
            device_id=self._device_id,
            threads=self._threads,
            feed=self._feed.start(source),
            ahead=self.batches_ahead(source),
        )
        return Batches(pipeline, names)

    def batches_ahead(self, source: SampleSource) -> int:
        """Return how many batches DALI makes while one is in use: 2, or 1 if host memory is short.

        3 on a GPU, where one of them starts late.
        """
        if self._device_id is not None:
            return 3
        schema = source.task.batch_schema.values()
        sizes = (math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in schema)
        return 1 if 3 * source.order.batch_size * sum(sizes) > memory_ahead() else 2

    def _complete(self, batch: dict[str, torch.Tensor], source: SampleSource) -> dict[str, torch.Tensor]:
        """Count the samples, record replacements, and reshape the clips."""
        order, names = source.order, source.index.names
        epoch, step = order.at(source.start)
        rows, decoded = batch.pop("row").numpy(), batch.pop("decoded")
        wanted = order.rows(epoch, step)
        replaced = (rows != wanted) & (wanted >= 0)
        for row, stand_in in zip(wanted[replaced].tolist(), rows[replaced].tolist(), strict=True):
            if row not in self._unreadable.rows:
                self._unreadable.add(row, why_unreadable(source, epoch, row))
            self._unreadable.replaced_by[names.text(row)] = names.text(stand_in)
        self.counts.samples += len(rows)
        self.counts.frames += len(rows) * source.task.program.frames
        self.counts.frames_decoded += int(decoded.sum())
        self.counts.replaced += int(replaced.sum())
        self._unreadable.require_few(replaced=self.counts.replaced, samples=self.counts.samples)
        for name, (shape, _) in source.task.batch_schema.items():
            if name in batch and len(shape) >= 4:  # FHWC frames of one or several consecutive clips
                batch[name] = batch[name].unflatten(1, (*shape[:-4], shape[-3])).movedim(-1, -4)
        batch["index"] = torch.from_numpy(rows if order.shuffle else np.where(rows == wanted, rows, -1))
        return batch
