"""Rank 0's reports of a run: metrics.jsonl, the loggers and a progress bar."""

import json
import os
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import torch
from PIL.Image import Image
from torch import Tensor
from tqdm import tqdm

from configs.schema import Config
from dali_pipelines.progress import bar
from dali_pipelines.store.files import Appended, replacing
from trainers.engine.loggers import Logger
from trainers.engine.outlets import LoggerOutlet, Outlet
from trainers.engine.work_dir import RECONSTRUCTION


class Metrics:
    """Report a run after step `first_step`, and drop the lines of later steps that were lost.

    Steps are counted from 1. As a context manager, it closes files and loggers. If `validation_pending`, the validation
    of step `first_step` is still to run, and loggers have dropped that step.
    """

    def __init__(
        self, config: Config, loggers: Sequence[Logger], *, first_step: int, end: int, validation_pending: bool
    ) -> None:
        work_dir, self._train = Path(config.work_dir), config.train
        self._steps, self._validations = work_dir / "metrics.jsonl", work_dir / "validation.jsonl"
        self._picture = work_dir / RECONSTRUCTION
        last = drop_after(self._steps, first_step)
        drop_after(self._validations, first_step - validation_pending)
        self._files = {self._steps: Appended(self._steps)}
        go_on = config.train.full_disk == "go_on"
        self._own, self._loggers = Outlet(go_on=go_on), [LoggerOutlet(logger, go_on=go_on) for logger in loggers]
        if validation_pending and last.get("step") == first_step:
            self._tell_loggers(lambda logger: logger.add_scalars("train", last, first_step))
        self._bar: tqdm[None] = bar(desc="step", total=end, initial=first_step)
        self._end = end
        self._timings: list[Tensor] = []

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()
        for outlet in (self._own, *self._loggers) if error is None else ():
            outlet.close()
        for logger in self._loggers:
            logger.end()
        for file in self._files.values():
            file.close()

    def flush(self) -> bool:
        """Write pending reports, as `Outlet.flush`; return whether all lines of the .jsonl files are written."""
        written = [outlet.flush() for outlet in (self._own, *self._loggers)]
        return written[0]

    def _tell_loggers(self, call: Callable[[Logger], object]) -> None:
        for logger in self._loggers:
            logger.tell(call)

    def _write(self, path: Path, line: Mapping[str, float]) -> None:
        if path not in self._files:
            self._files[path] = Appended(path)
        self._files[path].add(json.dumps(line).encode() + b"\n")

    def add(self, step: int, facts: Mapping[str, float], timings: Tensor, more: Mapping[str, float]) -> None:
        """Add one step. Every `log_every` steps and at the end, log a line, with `time` in seconds since 1970.

        Args:
            facts: epoch, lr, grad_norm and the task's terms, written as they are.
            timings: (world_size, 2), each rank's seconds in this step: waiting for data, and in total.
            more: values of the process, not of the step.
        """
        self._timings.append(timings)
        seconds = torch.stack(self._timings).sum(0)
        clips_per_s = self._train.global_batch * len(self._timings) / seconds[:, 1].max().item()
        data_wait = (seconds[:, 0] / seconds[:, 1]).max().item()
        shown = (
            f"epoch {facts['epoch'] + 1:.0f}/{self._train.epochs}, loss {facts['loss']:.4g}, "
            f"{clips_per_s:.4g} clips/s, wait {data_wait:.0%}, lr {facts['lr']:.3g}"
        )
        self._bar.set_postfix_str(shown, refresh=False)
        self._bar.update()
        if step % self._train.log_every and step != self._end:
            return
        self._timings.clear()
        speed = {"clips_per_s": clips_per_s, "data_wait": data_wait}
        line = {"step": step, **facts, **speed, **more, **memory(), "time": time.time()}
        self._own.add(lambda: self._write(self._steps, line))
        self._tell_loggers(lambda logger: logger.add_scalars("train", line, step))

    def add_validation(self, step: int, facts: Mapping[str, float]) -> None:
        """Add a validation after `step` steps, for a line of validation.jsonl."""
        self._own.add(lambda: self._write(self._validations, {"step": step, **facts}))
        self._tell_loggers(lambda logger: logger.add_scalars("validation", facts, step))
        self._bar.write(f"step {step}: validation " + ", ".join(f"{name} {value:.4g}" for name, value in facts.items()))

    def add_clips(self, step: int, draw: Callable[[], Image]) -> None:
        """Log a picture of this step's input; `draw` is called only if there are loggers."""
        if self._loggers:
            image = draw()
            self._tell_loggers(lambda logger: logger.add_image("input", image, step))

    def add_reconstruction(self, step: int, image: Image) -> None:
        """Add a picture that the network made of a batch, for `reconstruction.png` and the loggers."""

        def write() -> None:
            with replacing(self._picture) as part:
                image.save(part, "PNG")

        self._own.add(write)
        self._tell_loggers(lambda logger: logger.add_image("reconstruction", image, step))


def memory() -> dict[str, float]:
    """Return this process's resident memory and peak GPU memory, in MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    used = {"rss_mib": pages * resource.getpagesize() / 2**20}
    if torch.cuda.is_available():
        used["cuda_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return used


def whole_lines(path: Path) -> Iterator[tuple[dict[str, float], int]]:
    """Yield each line of a .jsonl file and the bytes up to its end, before the first that a kill or a full disk cut."""
    size = 0
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            values = json.loads(line)
        except ValueError:
            return
        if not (line.endswith(b"\n") and isinstance(values, dict) and "step" in values):
            return
        size += len(line)
        yield values, size


def drop_after(path: Path, step: int) -> dict[str, float]:
    """Truncate a .jsonl file after `step`, or before its first incomplete line; return the last line kept."""
    last: dict[str, float] = {}
    if not path.exists():
        return last
    end = 0
    for values, size in whole_lines(path):
        if values["step"] > step:
            break
        last, end = values, size
    os.truncate(path, end)  # works on a full disk
    return last
