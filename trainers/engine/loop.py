"""The training loop: fetch, forward, backward, check, step, log, save."""

import math
import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from configs.errors import UserError, shown
from configs.words import counted
from trainers.engine import checkpoint
from trainers.engine.metrics import Metrics
from trainers.engine.nonfinite import explain, leave_pictures, untrained_state
from trainers.engine.pictures import draw, reconstruction
from trainers.engine.run import Batch, Run, save
from trainers.engine.stop import StopSignal, in_words
from trainers.engine.terms import check_first_step, check_terms
from trainers.engine.watchdog import watched


@dataclass(frozen=True, eq=False)
class Step:
    """Results of one optimizer step on this rank."""

    terms: dict[str, Tensor]
    """The task's scalars, averaged over the micro-steps; float64, on the device."""
    grad_norm: float
    """L2 norm of the whole gradient before clipping, the same on every rank."""
    wait: float
    """Seconds spent waiting for data."""
    batch: Batch
    """The last micro-step's input."""
    fault: str = ""
    """Why the network was not updated; "" if it was."""


def endless(loader: Iterable[Batch]) -> Iterator[Batch]:
    """Yield batches forever, epoch after epoch, from the loader's position on."""
    while True:
        yield from loader


def train_step(run: Run, batches: Iterator[Batch], step: int, *, skip_nonfinite: bool = False) -> Step:
    """Run one optimizer step of `train.accumulate` micro-steps. `step` counts the steps before it.

    If the gradient is not finite, with `skip_nonfinite` restore the network and report it in `fault`; without, raise
    UserError on all ranks before the update. UserError, too, for what `terms` checks.
    """
    train, ranks = run.config.train, run.ranks
    # The network's randomness depends on the step alone, so a resumed run needs no saved RNG state.
    torch.manual_seed(int(np.random.SeedSequence([run.config.seed, step, ranks.rank]).generate_state(1)[0]))
    layout = torch.channels_last_3d if train.channels_last else torch.contiguous_format
    bf16 = train.amp == "bf16" and ranks.device.type == "cuda"
    epoch = run.epoch(step)
    before = untrained_state(run.net) if skip_nonfinite else {}
    run.net.before_step(epoch)
    wait, seen, terms = 0.0, [], dict[str, Tensor]()
    for micro in range(train.accumulate):
        fetch_began = time.perf_counter()
        batch = next(batches)
        wait += time.perf_counter() - fetch_began
        batch = {k: v.contiguous(memory_format=layout) if v.ndim == 5 else v for k, v in batch.items()}
        last = micro == train.accumulate - 1
        with nullcontext() if last or ranks.world_size == 1 else run.model.no_sync():  # type: ignore[operator]
            with torch.autocast(ranks.device.type, torch.bfloat16, enabled=bf16):
                out = run.model(batch)
            check_terms(out, run.config.task)
            (out["loss"] / train.accumulate).backward()
        refill_began = time.perf_counter()
        run.loader.refill()  # while the GPU computes
        if is_idle(ranks.device):  # the GPU finished before the refill did
            wait += time.perf_counter() - refill_began
        for name, value in out.items():
            terms[name] = terms.get(name, 0.0) + value.detach().double() / train.accumulate
        seen.append((batch, out["loss"].detach()))
    if step == 0:
        check_first_step(out, run.net, run.config.task)
    run.net.after_backward(epoch)
    # This waits for the GPU. The batch does not require it: DALI keeps a dropped tensor's memory until the GPU has
    # finished all earlier work (`DLTensorGraveyard` in dltensor.cc of DALI 2.4).
    grad_norm = float(nn.utils.clip_grad_norm_(run.net.parameters(), run.config.optim.clip_norm or math.inf))
    if not math.isfinite(grad_norm):  # of the reduced gradient: all ranks see it, and none has updated
        fault = explain(run, step, grad_norm, seen)
        leave_pictures(run, step, seen)
        if not skip_nonfinite:
            raise UserError(
                f"{fault}. Nothing was updated and the last checkpoint is intact; look at the videos, lower optim.lr, "
                "or let train.skip_nonfinite pass over some such steps"
            )
        run.net.load_state_dict(before, strict=False)
        run.optimizer.zero_grad(set_to_none=True)
        return Step(terms, grad_norm, wait, batch, fault)
    for group in run.optimizer.param_groups:
        group["lr"] = run.lr(step) * group["lr_factor"]
    run.optimizer.step()
    run.optimizer.zero_grad(set_to_none=True)
    return Step(terms, grad_norm, wait, batch)


def is_idle(device: torch.device) -> bool:
    """Return whether the device is a GPU that has finished its work."""
    return device.type == "cuda" and torch.cuda.current_stream(device).query()


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    words: str
    step: int = 0
    """Optimizer steps done since the run began; all of the recipe's only if nothing is left to do."""
    signal: int = 0
    """The signal that stopped it early; 0 for none."""


def train(run: Run, metrics: Metrics | None, folder: Path, *, first_step: int, end: int) -> Ending:
    """Train from step `first_step` up to `end`, with checkpoints in `folder`.

    Only rank 0 has `metrics`. One of `stop.SIGNALS` on any rank ends the run after the current step, with a checkpoint;
    a validation that was due runs on resume.
    """
    config, result = run.config.train, None
    skips, batches = config.skip_nonfinite, endless(run.loader)
    saved = checkpoint.path_of(folder, first_step)
    run.model.train()
    with StopSignal() as stop:
        if run.validator and run.validator.pending:
            saved = _validate(run, metrics, folder, first_step, must=first_step == end) or saved
        for step in range(first_step, end):
            began = time.perf_counter()
            with watched(config.timeout_s, partial(_at, run, step, result)):
                result = train_step(run, batches, step, skip_nonfinite=skips > 0)
                if step == first_step:  # else their values would be mixed up, or the gathering would hang
                    run.ranks.require_same(partial(dict, terms=[*result.terms]))
                if run.online:
                    run.online.update(result.batch)
                # One small collective per step: the terms, the times, and a signal if a rank received one.
                times = [result.wait, time.perf_counter() - began, float(stop.number)]
                own = torch.stack([*result.terms.values()])
                gathered = run.ranks.gather(torch.cat([own, own.new_tensor(times)]))
            skips = skips - 1 if result.fault else config.skip_nonfinite
            if result.fault:
                run.ranks.tell(f"warning: {result.fault}. Nothing was updated")
            terms = dict(zip(result.terms, gathered[:, :-3].mean(0).tolist(), strict=True))
            stopping = int(gathered[:, -1].max())
            done = step + 1
            if metrics:
                if step == first_step:
                    metrics.add_clips(done, partial(draw, run.loader, result.batch))
                facts = {"epoch": run.epoch(step), "lr": run.lr(step), "grad_norm": result.grad_norm, **terms}
                if run.online and (done == end or done % config.log_every == 0):
                    facts |= run.online.figures()
                metrics.add(done, facts, gathered[:, -3:-1], run.loader_facts())
            due = run.validator is not None and run.validator.due(run, done)
            if run.validator:
                run.validator.pending = due
            must = bool(stopping) or done == end
            # Saved before the validation, which may take longer than schedulers wait between SIGTERM and SIGKILL.
            saving = due or must or done % config.checkpoint_every == 0
            if saving and metrics and (image := reconstruction(run.net, result.batch)):
                metrics.add_reconstruction(done, image)
            if saving or done % config.log_every == 0:
                written = _flush(run, metrics)
            if saving and (written or must):
                saved = save(run, folder, done, must=must) or saved
            if stopping and (due or done < end):
                words = f"stopped by {in_words(stopping)} after step {done} of {end}"
                return Ending(f"{words}; the same command goes on from {saved}", done - due, stopping)
            if due:
                saved = _validate(run, metrics, folder, done, must=done == end) or saved
    return Ending(f"done: {end} of {counted(run.total_steps, 'step')}; {saved}", end)


def _at(run: Run, step: int, last: Step | None) -> str:
    """Describe what a rank was doing when it hung: its step, and the videos of the previous step."""
    names = [shown(run.name_of(row)) for row in last.batch["index"].tolist() if row >= 0] if last else []
    before = f" (the step before was of {', '.join(names)})" * bool(names)
    return f"step {step + 1} on rank {run.ranks.rank}{before}"


def _flush(run: Run, metrics: Metrics | None) -> bool:
    """Write the metrics so far; return whether all are written. If not, no checkpoint follows unless it must."""
    return run.ranks.on_rank0(lambda: metrics.flush() if metrics else True)


def _validate(run: Run, metrics: Metrics | None, folder: Path, step: int, *, must: bool) -> Path | None:
    """Validate after `step` steps, log the result and save; see `save`."""
    assert run.validator is not None
    measured = run.validator(run, step)
    run.model.train()
    if metrics:
        metrics.add_validation(step, measured)
    return save(run, folder, step, must=must) if _flush(run, metrics) or must else None
