"""What rank 0 reports of a run: metrics.jsonl, the loggers and a progress bar."""

import json
import resource
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor
from torchvision.utils import make_grid
from tqdm import tqdm

from dali_pipelines.pixels.normalize import NORMALIZATIONS
from dali_pipelines.store.files import replacing
from trainers.engine.loggers import Logger


class Metrics:
    """Report a run from step `first_step` on; later lines, of a run that was cut off, are dropped.

    A step's number counts the optimizer steps done, itself included. A context manager: closes its files and loggers.

    Args:
        normalization: of the clips, a name in `pixels.normalize.NORMALIZATIONS`.
        validation_pending: the validation after `first_step` is still to come.
    """

    def __init__(
        self,
        work_dir: Path,
        loggers: Sequence[Logger],
        *,
        first_step: int,
        end: int,
        global_batch: int,
        log_every: int,
        normalization: str,
        validation_pending: bool = False,
    ) -> None:
        path = work_dir / "metrics.jsonl"
        self._validations = work_dir / "validation.jsonl"
        drop_after(path, first_step)
        drop_after(self._validations, first_step - validation_pending)
        self._file = path.open("a", encoding="utf-8")
        self._loggers = loggers
        self._bar = tqdm(total=end, initial=first_step, unit="step", disable=None, dynamic_ncols=True)
        self._first_step, self._begin = first_step, time.monotonic()
        self._end, self._global_batch, self._log_every = end, global_batch, log_every
        self._normalization = normalization
        self._timings: list[Tensor] = []

    def __enter__(self) -> "Metrics":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()
        for logger in self._loggers:
            logger.close()
        self._file.close()

    def add(self, step: int, facts: Mapping[str, float], timings: Tensor, more: Mapping[str, float]) -> None:
        """Take one step; write a line every `log_every` steps and at the end. `time` is its, in seconds since 1970.

        Args:
            step: optimizer steps done.
            facts: epoch, lr, grad_norm and the task's terms at this step, written as they are.
            timings: (world_size, 2) seconds of each rank in this step: waiting for data, in all.
            more: figures of the process, not of the step.
        """
        self._bar.update()
        self._timings.append(timings)
        if step % self._log_every and step != self._end:
            return
        seconds = torch.stack(self._timings).sum(0)
        speed = {
            "clips_per_s": self._global_batch * len(self._timings) / seconds[:, 1].max().item(),
            "data_wait": (seconds[:, 0] / seconds[:, 1]).max().item(),
        }
        self._timings.clear()
        line = {"step": step, **facts, **speed, **more, **memory(), "time": time.time()}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        for logger in self._loggers:
            logger.add_scalars("train", line, step)
        short = {
            "epoch": f"{facts['epoch'] + 1:.0f}",
            "loss": f"{facts['loss']:.4g}",
            "lr": f"{facts['lr']:.3g}",
            "clips/s": f"{speed['clips_per_s']:.4g}",
            "wait": f"{speed['data_wait']:.0%}",
        }
        self._bar.set_postfix(short)
        if self._bar.disable:  # no terminal: lines for a log file
            elapsed = time.monotonic() - self._begin
            left = elapsed / (step - self._first_step) * (self._end - step)
            short |= {"elapsed": tqdm.format_interval(elapsed), "left": tqdm.format_interval(left)}
            print(f"step {step}/{self._end}", *(f"{name} {value}" for name, value in short.items()), flush=True)

    def add_validation(self, step: int, facts: Mapping[str, float]) -> None:
        """Take what was measured after `step` steps; write a line of validation.jsonl."""
        with self._validations.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **facts}) + "\n")
        for logger in self._loggers:
            logger.add_scalars("validation", facts, step)
        self._bar.write(f"step {step}: validation " + ", ".join(f"{name} {value:.4g}" for name, value in facts.items()))

    def add_clips(self, step: int, batch: Mapping[str, Tensor]) -> None:
        """Show the loggers what the network sees: some of each tensor of clips (B, ..., 3, T, H, W)."""
        for name, clips in batch.items():
            if clips.ndim >= 5:
                image = picture(clips, self._normalization)
                for logger in self._loggers:
                    logger.add_image(f"input/{name}", image, step)


def picture(clips: Tensor, normalization: str = "imagenet", *, rows: int = 4, frames: int = 8) -> Tensor:
    """Lay out the first views of a normalized batch (B, ..., 3, T, H, W), one a row; float32 (3, h, w) in 0..1."""
    views_NCTHW = clips.flatten(0, -5)[:rows].float().cpu()
    length = views_NCTHW.shape[2]
    times = torch.linspace(0, length - 1, min(frames, length)).long()
    frames_NCHW = views_NCTHW[:, :, times].transpose(1, 2).flatten(0, 1)
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in NORMALIZATIONS[normalization])
    grid: Tensor = make_grid((frames_NCHW * std + mean).clamp(0, 1), nrow=len(times))
    return grid


def memory() -> dict[str, float]:
    """Return this process's resident memory and its peak on the GPU, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    used = {"rss_mib": pages * resource.getpagesize() / 2**20}
    if torch.cuda.is_available():
        used["cuda_peak_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return used


def drop_after(path: Path, step: int) -> None:
    """Drop the lines of a metrics.jsonl after `step`, and a last line that a kill left half written."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True):
        try:
            if json.loads(line)["step"] > step:
                break
        except (json.JSONDecodeError, KeyError):
            break
        kept.append(line)
    with replacing(path) as part:
        part.write_text("".join(kept), encoding="utf-8")
