"""ClipLoader: batches of clips for one rank, in an order that depends only on the seed and the step.

How a batch is made:

1. `Batches` asks the pipeline for it, which asks `Feed` for samples (`Delivery.next`, `pipeline`).
2. A worker has made each sample ahead (`workers`), or this process makes it now: `SampleSource` looks up the row in
   the `Order`, draws its plan, locates, reads and decodes its bytes, and executes the host's pixel operations.
3. The pipeline executes the rest of the task's `Program` for the whole batch.
4. `Delivery` counts the samples, records replacements, and reshapes the clips.

An unreadable video is replaced in step 2 (`SampleSource.sample`), or found after DALI fails (`recovery`).
"""

import logging
import math
import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from numbers import Integral
from operator import index as whole
from pathlib import Path
from typing import Literal, get_args

import torch

from configs.errors import UserError, first_names, require
from configs.words import counted
from dali_pipelines.datasets.dataset import Dataset
from dali_pipelines.decode.choose import Wanted, choose, decoding_threads
from dali_pipelines.delivery import Counts, Delivery
from dali_pipelines.feed import Feed
from dali_pipelines.plan.order import Order
from dali_pipelines.samples import Media, SampleSource, decoded_media
from dali_pipelines.state import state_of, step_of
from dali_pipelines.store.index import Index
from dali_pipelines.tasks import Task
from dali_pipelines.unreadable import Unreadable
from dali_pipelines.worker import require_main_guard

log = logging.getLogger(__name__)


class ClipLoader:
    """Iterate over one epoch of a task's batches; each loop resumes where the last one stopped.

    Every batch is a dict of tensors on the device: those in the task's `batch_schema`, with a leading batch dimension.
    Clips are float32 (..., 3, T, H, W) in channels-last memory. `index`, int64 (B,) on the CPU, is the dataset row of
    each sample. Without shuffling it is -1 where there is no sample: in the padding of the last batch, and for
    unreadable videos.

    An unreadable video is replaced by one drawn from the seed, the epoch and its row, so all ranks and resumed runs
    agree. It is listed in `unreadable` and logged once; `replaced_by` has its stand-in.

    Loops at the same time, such as in two threads, share the batches of an epoch: each batch is in one of them. A copy,
    also by pickle, goes on at the same batch with workers of its own.

    Videos with fewer frames than the task needs are dropped and listed in `too_short`. Rows are those of `index`, the
    dataset without them.

    Args:
        dataset: a `Dataset`, or its index alone: `dataset.index.select(rows)` has some of its videos.
        task: the task and its settings.
        batch_size: samples per batch on this rank.
        rank: index of this process among those that share an epoch; RANK and WORLD_SIZE are not read.
        world_size: number of processes that share an epoch.
        seed: determines the order of the videos and every random draw.
        device: "cpu", "cuda:N", or "cuda" for torch's current device.
        workers: processes that read, plan and, for codecs that DALI lacks, decode; 0 does so in this process. They are
            spawned: a script needs the usual `if __name__ == "__main__":` guard.
        threads: DALI's threads. "auto" uses two per hardware decoder of a GPU, limited by the cores, and at most four
            without a GPU.
        shuffle: draw a new order for each epoch and drop the incomplete last batch. Otherwise keep the order of the
            dataset and pad the last batch.
        decoder: "dali", "pyav", or "auto": DALI if it decodes every video of the dataset correctly, else PyAV. On a
            GPU, a clip of each format is tried first.
        timeout_s: seconds a worker may take for a sample; see `Pool`.
        most_unreadable: largest share of samples that may be replaced when shuffling. Three standard deviations are
            added, as small counts may exceed it by chance.

    Raises:
        UserError: the dataset is smaller than one global batch, no video is long enough, or more samples are replaced
            than `most_unreadable` allows.
        ValueError: a number is out of range, or `decoder` or `device` is not one of those above.
    """

    def __init__(
        self,
        dataset: Dataset | Index,
        task: Task,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        seed: int = 0,
        device: str = "cpu",
        workers: int = 0,
        threads: int | Literal["auto"] = "auto",
        shuffle: bool = True,
        decoder: Wanted = "auto",
        timeout_s: float = math.inf,
        most_unreadable: float = 0.1,
    ) -> None:
        numbers = {"batch_size": batch_size, "rank": rank, "world_size": world_size, "seed": seed, "workers": workers}
        for name, value in (numbers | ({"threads": threads} if threads != "auto" else {})).items():
            require(isinstance(value, Integral), name, value, "a whole number")
        require(batch_size >= 1, "batch_size", batch_size, "at least 1")
        require(world_size >= 1, "world_size", world_size, "at least 1")
        require(workers >= 0, "workers", workers, "at least 0")
        require(0 <= rank < world_size, "rank", rank, f"from 0 to world_size - 1 = {world_size - 1}")
        require(0 <= seed < 2**63, "seed", seed, "from 0 to 2**63 - 1")
        require(threads == "auto" or threads >= 1, "threads", threads, "auto or at least 1")
        require(decoder in get_args(Wanted), "decoder", decoder, "auto, dali or pyav")
        require(timeout_s > 0, "timeout_s", timeout_s, "greater than 0")
        require(0 <= most_unreadable <= 1, "most_unreadable", most_unreadable, "from 0 to 1")
        if isinstance(dataset, str | Path):
            raise UserError(f"ClipLoader({dataset!r}, ...) takes an open dataset: open_dataset({str(dataset)!r})")
        if not isinstance(dataset, Dataset | Index):
            raise UserError(f"ClipLoader({dataset!r}, ...) takes what open_dataset returns, or its index.select(rows)")
        if not isinstance(task, Task):
            raise UserError(f"ClipLoader(..., {task!r}) takes a task: load_task({str(task)!r})")
        self.task = task
        videos = dataset if isinstance(dataset, Dataset) else Dataset(dataset)
        usable = videos.long_enough(task)
        self.index, self.too_short = usable.index, dict(usable.too_short)
        index = self.index
        if self.too_short and rank == 0:
            total, names = counted(len(videos.index), "video"), first_names([*self.too_short])
            needs = f"{task.name} needs {task.min_frames} frames"
            log.warning("%d of %s too short: %s (%s)", len(self.too_short), total, needs, names)
        # NumPy's integers become Python's, which JSON and torch.load take.
        self.order = Order(len(index), whole(batch_size), whole(rank), whole(world_size), whole(seed), shuffle)
        if workers:
            require_main_guard()  # before a pool is made: a script may take long until then
        if self.order.steps == 0:
            raise too_few_videos(index, self.order.global_batch)
        require(bool(re.fullmatch(r"cpu|cuda(:\d+)?", str(device))), "device", device, "cpu, cuda or cuda:N")
        on = torch.device(device)
        gpu = on.type == "cuda"
        self.device_id = _gpu_of(on) if gpu else None
        dali, why_not = choose(index, decoder, device_id=self.device_id)
        if why_not and gpu:
            processes = counted(workers, "worker process", "worker processes")
            log.warning("PyAV decodes, in %s, instead of %s: %s", processes, on, why_not)
        self.media: Media = "encoded" if dali else decoded_media(index, self.task, gpu=gpu)
        self.workers = workers
        self.threads = decoding_threads(threads, nvdec=dali and gpu)
        self.step = 0  # of the next batch, counted from the start of epoch 0
        self._unreadable = Unreadable(index, replaces=shuffle, most=most_unreadable)
        feed = Feed(self._unreadable, workers=workers, timeout_s=timeout_s)
        self._delivery = Delivery(feed, device_id=self.device_id, threads=self.threads)

    def __copy__(self) -> "ClipLoader":
        return deepcopy(self)

    def __enter__(self) -> "ClipLoader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.order.steps

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the remaining batches of the current epoch; the next call starts the next epoch."""
        epoch = self.order.at(self.step)[0]
        while True:
            with self._delivery.lock:
                if self.order.at(self.step)[0] != epoch:
                    return
                batch = self._delivery.next(self.source)
                self.step += 1
            yield batch

    @property
    def counts(self) -> Counts:
        """Totals of what was delivered."""
        return self._delivery.counts

    @property
    def unreadable(self) -> dict[str, str]:
        """Name of each unreadable video -> the reason."""
        return self._unreadable.reasons

    @property
    def replaced_by(self) -> dict[str, str]:
        """Name of each replaced video -> its latest stand-in."""
        return self._unreadable.replaced_by

    def refill(self) -> None:
        """Start another batch on a GPU, to replace the one taken last.

        Call it once a step, after the GPU was given its work: see `Batches`. Without it, asking for a batch does it.
        """
        with self._delivery.lock:
            self._delivery.refill()

    def remember(self, unreadable: Mapping[str, str]) -> None:
        """Mark videos as unreadable that were found to be so earlier: name -> reason."""
        self._unreadable.remember(unreadable)

    @property
    def decoder(self) -> Literal["dali", "pyav"]:
        """The library that decodes."""
        return "dali" if self.media == "encoded" else "pyav"

    @property
    def source(self) -> SampleSource:
        """The samples from the current step on."""
        steps = self.task.program.host_steps(gpu=self.device_id is not None) if self.media == "frames" else 0
        return SampleSource(self.index, self.task, self.order, self.media, self.step, self._unreadable.rows, steps)

    def state_dict(self) -> dict[str, int]:
        """Return the current epoch and step, and the settings that they depend on."""
        return state_of(self.order, self.step)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Resume at the exact next batch.

        UserError if the state has another dataset size, seed or global batch, or is not one of `state_dict`.
        """
        step = step_of(state, self.order)
        with self._delivery.lock:
            self._delivery.rewind()
            self.step = step

    def close(self) -> None:
        """End the worker processes and free the pipeline; iterating recreates them.

        The end of a `with` block does this, and so does dropping the loader.
        """
        with self._delivery.lock:
            self._delivery.close()


def too_few_videos(index: Index, global_batch: int) -> UserError:
    """Make the error for a dataset smaller than one global batch."""
    return UserError(
        f"{index.root} has {counted(len(index), 'video')}, fewer than one global batch of {global_batch}: "
        "lower train.global_batch or add videos"
    )


def _gpu_of(device: torch.device) -> int:
    """Return a GPU's index. "cuda" is the one chosen with `torch.cuda.set_device`, else the first."""
    if device.index is not None:
        return device.index
    return torch.cuda.current_device() if torch.cuda.is_initialized() else 0
