"""A whole run in its work dir, and a dry run that writes nothing."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from configs.errors import UserError
from configs.load import dump
from dali_pipelines.datasets.fates import MISSING_FILE, TOO_SHORT_FILE, UNREADABLE_FILE, summary, write_reasons
from dali_pipelines.loader import ClipLoader
from dali_pipelines.store.files import replacing
from trainers.engine.loggers import Logger, open_loggers
from trainers.engine.loop import endless, train, train_step
from trainers.engine.metrics import Metrics, memory
from trainers.engine.run import Run, resume


def fit(run: Run, loader: ClipLoader, *, resume_from: str, max_steps: int | None, missing: Sequence[str] = ()) -> str:
    """Train in the config's work_dir, from its newest checkpoint on. Returns how it ended.

    Videos that are too short are listed in too_short.csv there, those of the list that are `missing` in missing.csv.
    """
    config, work_dir = run.config, Path(run.config.work_dir)
    run.ranks.on_rank0(lambda: require_writable(work_dir, work_dir / "checkpoints"))
    first_step = resume(run, work_dir / "checkpoints", resume_from)
    end = min(run.total_steps, max_steps or run.total_steps)
    pending = run.validator is not None and run.validator.pending
    if first_step > end or (first_step == end and not pending):
        return f"nothing to do: {work_dir} has done {first_step} of {end} steps"
    loggers: list[Logger] = []
    if run.ranks.rank == 0:
        with replacing(work_dir / "config.yaml") as part:
            part.write_text(dump(config), encoding="utf-8")
        if loader.too_short:
            write_reasons(work_dir / TOO_SHORT_FILE, loader.too_short)
        if missing:
            write_reasons(work_dir / MISSING_FILE, dict.fromkeys(missing, f"not in {config.data.root}"))
    # An error here ends all ranks together.
    run.ranks.on_rank0(lambda: loggers.extend(open_loggers(config, first_step=first_step)))
    metrics = None
    if run.ranks.rank == 0:
        metrics = Metrics(
            work_dir,
            loggers,
            first_step=first_step,
            end=end,
            global_batch=config.train.global_batch,
            log_every=config.train.log_every,
            normalization=loader.task.program.normalization,
            validation_pending=pending,
        )
    with metrics or nullcontext():
        ending = train(run, metrics, work_dir / "checkpoints", first_step=first_step, end=end)
    return "\n".join([ending, *summary("unreadable", run.unreadable, work_dir / UNREADABLE_FILE)])


def require_writable(*folders: Path, option: str = "--work-dir") -> None:
    """Create the folders. UserError when one takes no files: better now than after the work."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}; choose another {option}") from error


def dry_run(run: Run) -> str:
    """Make two steps, write nothing, and return a table of the batch, the network's size and the speed."""
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
    return "\n".join(
        [
            *lines,
            f"parameters      {sum(parameter.numel() for parameter in run.net.parameters()):,}",
            f"run             {config.epochs} epochs x {len(run.loader)} batches = {run.total_steps} steps",
            f"second step     {1000 * seconds:.0f} ms, {config.global_batch / seconds:.1f} clips/s",
            *(f"{name:<16}{mebibytes:.0f}" for name, mebibytes in memory().items()),
            "dry run: nothing was written",
        ]
    )
