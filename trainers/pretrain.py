"""Self-supervised pretraining: `torchrun trainers/pretrain.py --config configs/ctp/r3d18_ucf101.yaml`.

Plain `python` trains in one process. Heavy imports stand inside functions: the loader's workers are spawned
processes, and each of them imports this file once more.
"""

import argparse
import json
import os
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from configs.errors import UserError, run_cli
from configs.load import dump, load
from configs.schema import Config, batch_per_rank

if TYPE_CHECKING:
    from dali_pipelines.loader import ClipLoader
    from trainers.distributed import Ranks
    from trainers.run import Run


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pretrain.py", description="Self-supervised pretraining on video clips.")
    parser.add_argument("--config", metavar="YAML", help="the recipe, see configs/")
    parser.add_argument("--list-tasks", action="store_true", help="print the pretext tasks and their recipes, and end")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key: optim.lr=0.02")
    parser.add_argument("--data-dir", metavar="DIR", help="the dataset, instead of data.root")
    parser.add_argument("--work-dir", metavar="DIR", help="where the run is kept, instead of work_dir")
    parser.add_argument(
        "--resume", default="auto", metavar="WHAT", help="auto (newest checkpoint), none, or a .pt file"
    )
    parser.add_argument("--max-steps", type=int, metavar="N", help="stop after optimizer step N; the schedule stays")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--print-config", action="store_true", help="print the config with all defaults, and end")
    parser.add_argument("--dry-run", action="store_true", help="two steps with a table of the batch; writes nothing")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")
    args = parser.parse_args(argv)
    if args.config is None and not args.list_tasks:
        parser.error("the following arguments are required: --config")
    if args.max_steps is not None and args.max_steps < 1:
        parser.error(f"--max-steps {args.max_steps}: at least 1")
    args.set += [f"data.root={json.dumps(args.data_dir)}"] if args.data_dir else []
    args.set += [f"work_dir={json.dumps(args.work_dir)}"] if args.work_dir else []
    return args


def main(argv: list[str]) -> None:
    args = parse_args(argv)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # torch's threads, if they spin, starve DALI's
    if args.list_tasks:
        print(list_tasks())
        return
    config = load(args.config, args.set)
    if args.print_config:
        print(dump(config), end="")
        return
    from trainers.distributed import left_out, start

    with start(args.device) as ranks:
        notes = left_out(config.train, ranks) if ranks.rank == 0 else []
        for note in notes:
            print(f"note: {note}", flush=True)
        ending = work(config, ranks, args)
        if ranks.rank == 0:
            print(ending, flush=True)


def list_tasks() -> str:
    """Every task that one can pretrain with: what its network predicts, and its recipes."""
    from dali_pipelines.tasks import task_module
    from nets.tasks import pretext_tasks

    lines = []
    for name in pretext_tasks():
        about = (task_module(name).__doc__ or "").partition("\n")[0].partition(" (specs/")[0]
        recipes = sorted(Path(os.path.relpath(Path(__file__).parents[1] / "configs" / name)).glob("*.yaml"))
        lines += [f"{name}: {about}", *(f"    {recipe}" for recipe in recipes)]
    return "\n".join(lines)


def work(config: Config, ranks: "Ranks", args: argparse.Namespace) -> str:
    """The dry run or the training; returns how it ended.

    A function of its own, so that the network is freed before `start` ends the process group. If DDP holds the
    group's last reference, it frees it under the GIL, for which gloo's thread may be waiting: the rank never exits.
    """
    loader = build_loader(config, ranks)
    try:
        run = build(config, ranks, loader)
        if args.dry_run:
            return dry_run(run)
        return pretrain(run, loader, resume_from=args.resume, max_steps=args.max_steps)
    finally:
        loader.close()


def build_loader(config: Config, ranks: "Ranks") -> "ClipLoader":
    """This rank's share of the dataset. UserError for a dataset or a batch size that does not work."""
    from dali_pipelines.loader import ClipLoader
    from dali_pipelines.store.index import open_dataset
    from dali_pipelines.tasks import Task

    try:
        batch_size = batch_per_rank(config.train, ranks.world_size)
    except ValueError as error:
        raise UserError(str(error)) from None
    data = config.data
    return ClipLoader(
        open_dataset(data.root, Path(data.root, data.list) if data.list else None),
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


def build(config: Config, ranks: "Ranks", loader: "ClipLoader") -> "Run":
    """Network, optimizer and loader, the same on all ranks."""
    import torch

    from nets.tasks import build_task
    from trainers.distributed import wrap
    from trainers.run import Run, make_optimizer

    identity = {
        "task": config.task,
        "backbone": config.backbone,
        "seed": config.seed,
        "train.global_batch": config.train.global_batch,
        "train.accumulate": config.train.accumulate,
        "optim.name": config.optim.name,
        "videos": len(loader.index),
    }
    ranks.require_same(config=dump(config), **identity)
    torch.manual_seed(config.seed)
    net = build_task(config.task, config.backbone, loader.task.batch_schema, config.net)
    net.check_batch(batch_per_rank(config.train, ranks.world_size), ranks.world_size)
    net, model = wrap(net, config.train, ranks)
    return Run(
        config=config,
        ranks=ranks,
        loader=loader,
        net=net,
        model=model,
        optimizer=make_optimizer(net, config.optim),
        identity=identity,
        name_of=lambda row: loader.index.info(row).name,
        loader_facts=lambda: {
            "amplification": loader.counts.amplification,
            "replaced_videos": len(loader.replaced),
        },
    )


def pretrain(run: "Run", loader: "ClipLoader", *, resume_from: str, max_steps: int | None) -> str:
    """Trains in the config's work_dir, from its newest checkpoint on, and lists there the videos that are left out."""
    from dali_pipelines.store.files import replacing
    from trainers.loop import train
    from trainers.metrics import Metrics
    from trainers.run import resume

    config, work_dir = run.config, Path(run.config.work_dir)
    run.ranks.on_rank0(lambda: require_writable(work_dir, work_dir / "checkpoints"))
    first_step = resume(run, work_dir / "checkpoints", resume_from)
    end = min(run.total_steps, max_steps or run.total_steps)
    if first_step >= end:
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
            normalisation=loader.task.normalisation,
        )
    with metrics or nullcontext():
        return train(run, metrics, work_dir / "checkpoints", first_step=first_step, end=end)


def require_writable(*folders: Path) -> None:
    """Makes the folders. UserError when one takes no files, which is better known before training than after."""
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise UserError(f"cannot write to {folder}: {error.strerror}; choose another --work-dir") from error


def dry_run(run: "Run") -> str:
    """Two steps and nothing written: what a batch holds, how large the network is, how long a step takes."""
    from trainers.loop import endless, train_step
    from trainers.metrics import memory

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


if __name__ == "__main__":
    run_cli(main)
