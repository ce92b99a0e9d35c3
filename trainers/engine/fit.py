"""A whole run in its work dir, and a dry run that writes nothing."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

from configs.words import counted
from dali_pipelines.datasets.fates import MISSING_FILE, TOO_SHORT_FILE, UNREADABLE_FILE, summary, write_reasons
from dali_pipelines.progress import tell
from trainers.engine.loggers import open_loggers
from trainers.engine.loop import Ending, endless, train, train_step
from trainers.engine.metrics import Metrics, memory
from trainers.engine.run import Run, resume
from trainers.engine.work_dir import CHECKPOINTS, locked, require_writable, write_config


def fit(
    run: Run,
    *,
    resume_from: str,
    max_steps: int | None,
    missing: Sequence[str],
    next_steps: Callable[[], Sequence[str]],
) -> Ending:
    """Train in the config's work_dir, resuming as `resume_from` says: see `checkpoint.find`.

    There, too_short.csv lists the videos that are too short, and missing.csv those of the list that are `missing`.
    Files of another run are moved aside. `next_steps` returns lines to print after the last step, on rank 0. UserError
    if the work dir is not writable, another run is training in it, or its checkpoint does not fit this run.
    """
    work_dir = Path(run.config.work_dir)
    run.ranks.on_rank0(lambda: require_writable(work_dir, work_dir / CHECKPOINTS))
    with ExitStack() as stack:
        # Rank 0 holds the lock for all.
        run.ranks.on_rank0(lambda: stack.enter_context(locked(work_dir)))
        ending = _fit(run, work_dir, resume_from, max_steps, missing)
    if ending.step < run.total_steps or run.ranks.rank:
        return ending
    return replace(ending, words="\n".join([ending.words, *next_steps()]))


def _fit(run: Run, work_dir: Path, resume_from: str, max_steps: int | None, missing: Sequence[str]) -> Ending:
    run, first_step, source, notes = resume(run, work_dir / CHECKPOINTS, resume_from)
    end = min(run.total_steps, max_steps or run.total_steps)
    pending = run.validator is not None and run.validator.pending
    lines = [f"note: {note}" for note in notes]
    if first_step > end or (first_step == end and not pending):
        more = "train.epochs" if end == run.total_steps else "--max-steps"
        nothing = f"nothing to do: {work_dir} has done {first_step} of {counted(end, 'step')}; raise {more} to go on"
        lines.append(f"{nothing}, or pass another --work-dir to start a new run")
        return Ending("\n".join(lines), first_step)
    if source:
        lines.insert(0, f"resumed at step {first_step} of {run.total_steps} from {source}")

    opened: list[Metrics] = []

    def prepare() -> None:
        write_config(work_dir, run.config, run.id)
        if run.loader.too_short:
            write_reasons(work_dir / TOO_SHORT_FILE, run.loader.too_short)
        if missing:
            write_reasons(work_dir / MISSING_FILE, dict.fromkeys(missing, f"not in {run.config.data.root}"))
        for line in lines:
            tell(line)
        loggers = open_loggers(run.config, first_step=first_step - pending)
        opened.append(Metrics(run.config, loggers, first_step=first_step, end=end, validation_pending=pending))

    run.ranks.on_rank0(prepare)  # an error here ends all ranks together
    metrics = opened[0] if opened else None
    with metrics or nullcontext():
        ending = train(run, metrics, work_dir / CHECKPOINTS, first_step=first_step, end=end)
    unreadable = summary("unreadable", run.unreadable, work_dir / UNREADABLE_FILE)
    return replace(ending, words="\n".join([ending.words, *unreadable]))


def dry_run(run: Run) -> Ending:
    """Run two steps without writing anything; return a table of the batch, the network's size and the speed."""
    run.model.train()
    batches = endless(run.loader)
    result = train_step(run, batches, 0)
    began = time.perf_counter()
    train_step(run, batches, 1)
    seconds = time.perf_counter() - began
    lines = [f"{'tensor':<16}{'shape on each rank':<28}{'dtype':<16}{'MiB':>8}"]
    for name, tensor in result.batch.items():
        shape, dtype = str(tuple(tensor.shape)), str(tensor.dtype).removeprefix("torch.")
        lines.append(f"{name:<16}{shape:<28}{dtype:<16}{tensor.nbytes / 2**20:8.2f}")
    config = run.config.train
    epochs, each = counted(config.epochs, "epoch"), counted(len(run.loader), "batch", "batches")
    lines += [
        f"parameters      {sum(parameter.numel() for parameter in run.net.parameters()):,}",
        f"run             {epochs} x {each} = {counted(run.total_steps, 'step')}",
        f"second step     {1000 * seconds:.0f} ms, {config.global_batch / seconds:.1f} clips/s",
        *(f"{name:<16}{mebibytes:.0f}" for name, mebibytes in memory().items()),
        "dry run: nothing was written",
    ]
    return Ending("\n".join(lines))
