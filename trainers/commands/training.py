"""Shared by `pretrain` and `finetune`: options, check the recipe, start the ranks, then train or do a dry run."""

import argparse
from collections.abc import Callable, Sequence
from typing import TypeVar

from configs.load import dump
from configs.options import add_machine, add_overrides, given, whole_number
from configs.schema import Config, Train
from configs.words import counted
from trainers.engine.build import check_recipe, ignored_options
from trainers.engine.devices import enough_memory
from trainers.engine.distributed import Ranks, exit_status, start
from trainers.engine.fit import dry_run, fit
from trainers.engine.loop import Ending
from trainers.engine.run import Run

Recipe = TypeVar("Recipe", bound=Config)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a training command."""
    parser.add_argument("--config", metavar="YAML", help="the recipe, see configs/")
    add_overrides(parser)
    add_machine(parser)
    parser.add_argument("--work-dir", metavar="DIR", help="the folder of the run, instead of work_dir")
    parser.add_argument("--resume", default="auto", metavar="WHAT", help="auto (the newest), none, or a .pt file")
    stop = "stop after step N of the unchanged schedule"
    parser.add_argument("--max-steps", type=whole_number(1), metavar="N", help=stop)
    parser.add_argument("--print-config", action="store_true", help="print the config with all defaults, and exit")
    parser.add_argument("--dry-run", action="store_true", help="run two steps, show the batch, write nothing")


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse and check a training command's arguments."""
    args = parser.parse_args(argv)
    if args.config is None and not getattr(args, "list_tasks", False):  # an option of pretrain alone
        parser.error("the following arguments are required: --config")
    return args


def on_ranks(
    config: Recipe, args: argparse.Namespace, work: Callable[[Recipe, Ranks, argparse.Namespace], Ending]
) -> int:
    """Call `work` on all ranks, print how it ended, and return the exit status. --print-config prints the recipe alone.

    `work` is a separate function so that its network is freed before `start` destroys the process group. If DDP held
    the last reference to the group, it would free it under the GIL while gloo's thread waits for the GIL: a deadlock.
    """
    if args.print_config:
        print(dump(config), end="")
        return 0
    check_recipe(config)
    with start(args.device, given(args)) as ranks:
        ranks.note(ignored_options(config.train, ranks))
        with enough_memory(*batch_and_way_out(config.train, ranks.world_size)):
            ending = work(config, ranks, args)
        ranks.tell(ending.words)
    return exit_status(128 + ending.signal if ending.signal else 0)


def batch_and_way_out(train: Train, world_size: int) -> tuple[str, str]:
    """Describe the videos that are in a GPU's memory together, and how to have less there."""
    at_once = train.global_batch // (world_size * train.accumulate)
    batch = (
        f"{counted(at_once, 'video')} at once (train.global_batch = {train.global_batch} on "
        f"{counted(world_size, 'rank')}, train.accumulate = {train.accumulate})"
    )
    bf16 = " set train.amp=bf16," * (train.amp == "off")
    return batch, f"start a new run with train.accumulate={2 * train.accumulate},{bf16} or lower train.global_batch"


def train(
    run: Run, args: argparse.Namespace, *, missing: Sequence[str], next_steps: Callable[[], Sequence[str]]
) -> Ending:
    """Train according to the options, or do a dry run; see `fit`."""
    if args.dry_run:
        return dry_run(run)
    return fit(run, resume_from=args.resume, max_steps=args.max_steps, missing=missing, next_steps=next_steps)
