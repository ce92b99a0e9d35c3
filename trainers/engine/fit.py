"""What pretrain.py and finetune.py share: their options, the parts of a run, and a run in its work dir."""

import argparse
import json
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import UserError
from configs.load import dump
from configs.schema import Config, batch_per_rank

if TYPE_CHECKING:
    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.store.index import Index
    from nets.tasks import Pretext
    from trainers.engine.distributed import Ranks
    from trainers.engine.run import Run
    from trainers.evaluation.validation import Validator


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of a training command."""
    parser.add_argument("--config", metavar="YAML", help="the recipe, see configs/")
    add_overrides(parser)
    parser.add_argument("--work-dir", metavar="DIR", help="where the run is kept, instead of work_dir")
    parser.add_argument(
        "--resume", default="auto", metavar="WHAT", help="auto (newest checkpoint), none, or a .pt file"
    )
    parser.add_argument("--max-steps", type=int, metavar="N", help="stop after optimizer step N; the schedule stays")
    parser.add_argument("--print-config", action="store_true", help="print the config with all defaults, and end")
    parser.add_argument("--dry-run", action="store_true", help="two steps with a table of the batch; writes nothing")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """The options with which any command changes a recipe."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key: optim.lr=0.02")
    parser.add_argument("--data-dir", metavar="DIR", help="the dataset, instead of data.root")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def parse(
    parser: argparse.ArgumentParser, argv: list[str], *, instead_of_config: str | None = None
) -> argparse.Namespace:
    """The arguments of a training command, checked. `instead_of_config` names an option that needs no recipe."""
    args = parser.parse_args(argv)
    if args.config is None and not (instead_of_config and getattr(args, instead_of_config)):
        parser.error("the following arguments are required: --config")
    if args.max_steps is not None and args.max_steps < 1:
        parser.error(f"--max-steps {args.max_steps}: at least 1")
    return args


def overrides(args: argparse.Namespace) -> list[str]:
    """What the options change of the recipe, for `configs.load.load`."""
    named = {"data.root": args.data_dir, "work_dir": getattr(args, "work_dir", None)}
    return args.set + [f"{key}={json.dumps(str(value))}" for key, value in named.items() if value]


def build_loader(config: Config, ranks: "Ranks", index: "Index") -> "ClipLoader":
    """This rank's share of the dataset. UserError for a dataset or a batch size that does not work."""
    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.tasks import Task

    try:
        batch_size = batch_per_rank(config.train, ranks.world_size)
    except ValueError as error:
        raise UserError(str(error)) from None
    data = config.data
    return ClipLoader(
        index,
        Task(config.task, config.plan),
        batch_size=batch_size,
        rank=ranks.rank,
        world_size=ranks.world_size,
        seed=config.seed,
        device=str(ranks.device),
        workers=data.workers,
        threads=data.threads,
        decoder=data.decoder,
    )


def build_run(
    config: Config,
    ranks: "Ranks",
    loader: "ClipLoader",
    net: "Pretext",
    *,
    identity: dict[str, object] | None = None,
    classes: tuple[str, ...] = (),
    validator: "Validator | None" = None,
) -> "Run":
    """The parts of a run around a network, the same on all ranks. `identity` adds to what must stay the same."""
    from trainers.engine.distributed import wrap
    from trainers.engine.identity import of_videos
    from trainers.engine.run import Run, make_optimizer

    fixed = {
        "task": config.task,
        "backbone": config.backbone,
        "seed": config.seed,
        "train.global_batch": config.train.global_batch,
        "train.accumulate": config.train.accumulate,
        "optim.name": config.optim.name,
        "videos": len(loader.index),
        **of_videos(loader.index),
        **(identity or {}),
    }
    ranks.require_same(config=dump(config), **fixed)
    net.check_batch(batch_per_rank(config.train, ranks.world_size), ranks.world_size)
    net, model = wrap(net, config.train, ranks)
    unreadable: dict[str, str] = {}
    return Run(
        config=config,
        ranks=ranks,
        loader=loader,
        net=net,
        model=model,
        optimizer=make_optimizer(net, config.optim),
        identity=fixed,
        name_of=lambda row: loader.index.info(row).name,
        loader_facts=lambda: {
            "amplification": loader.counts.amplification,
            "replaced_videos": len(unreadable | loader.replaced),
        },
        unreadable=unreadable,
        classes=classes,
        validator=validator,
    )


def work(run: "Run", loader: "ClipLoader", args: argparse.Namespace) -> str:
    """The dry run or the training; returns how it ended."""
    if args.dry_run:
        return dry_run(run)
    return fit(run, loader, resume_from=args.resume, max_steps=args.max_steps)


def fit(run: "Run", loader: "ClipLoader", *, resume_from: str, max_steps: int | None) -> str:
    """Trains in the config's work_dir, from its newest checkpoint on, and lists there the videos that are left out."""
    from dali_pipelines.store.files import replacing
    from trainers.engine import unreadable
    from trainers.engine.loop import train
    from trainers.engine.metrics import Metrics
    from trainers.engine.run import resume

    config, work_dir = run.config, Path(run.config.work_dir)
    run.ranks.on_rank0(lambda: require_writable(work_dir, work_dir / "checkpoints"))
    first_step = resume(run, work_dir / "checkpoints", resume_from)
    end = min(run.total_steps, max_steps or run.total_steps)
    owing = run.validator is not None and run.validator.owing
    if first_step > end or (first_step == end and not owing):
        return f"nothing to do: {work_dir} has done {first_step} of {end} steps"
    metrics = None
    if run.ranks.rank == 0:
        with replacing(work_dir / "config.yaml") as part:
            part.write_text(dump(config), encoding="utf-8")
        if loader.left_out:
            with replacing(work_dir / "left_out.txt") as part:
                part.write_text("".join(f"{name}\n" for name in loader.left_out), encoding="utf-8")
        metrics = Metrics(
            work_dir,
            first_step=first_step,
            end=end,
            global_batch=config.train.global_batch,
            log_every=config.train.log_every,
            normalization=loader.task.normalization,
            owing=owing,
        )
    with metrics or nullcontext():
        ending = train(run, metrics, work_dir / "checkpoints", first_step=first_step, end=end)
    return "\n".join([ending, *unreadable.summary(run.unreadable, work_dir)])


def require_writable(*folders: Path, option: str = "--work-dir") -> None:
    """Makes the folders. UserError when one takes no files, which is better known before the work than after."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}; choose another {option}") from error


def dry_run(run: "Run") -> str:
    """Two steps and nothing written: what a batch holds, how large the network is, how long a step takes."""
    from trainers.engine.loop import endless, train_step
    from trainers.engine.metrics import memory

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
    train = run.config.train
    return "\n".join(
        [
            *lines,
            f"parameters      {sum(parameter.numel() for parameter in run.net.parameters()):,}",
            f"run             {train.epochs} epochs x {len(run.loader)} batches = {run.total_steps} steps",
            f"second step     {1000 * seconds:.0f} ms, {train.global_batch / seconds:.1f} clips/s",
            *(f"{name:<16}{mebibytes:.0f}" for name, mebibytes in memory().items()),
            "dry run: nothing was written",
        ]
    )
