"""Self-supervised pretraining: `torchrun --standalone trainers/pretrain.py --config ctp/r3d18_ucf101`.

Plain `python` trains in one process.
"""

import argparse

import torch

from configs import recipes
from configs.errors import UserError
from configs.load import dump, load
from configs.schema import Config
from dali_pipelines.datasets.open import open_data
from dali_pipelines.next_steps import after_pretrain
from nets.tasks import build_task
from trainers.commands.options import add_options, overrides, parse
from trainers.engine.build import build_loader, build_run, check_recipe
from trainers.engine.distributed import Ranks, exit_status, ignored_options, start
from trainers.engine.fit import dry_run, fit
from trainers.engine.loop import Ending


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="clipfeed pretrain", description="Self-supervised pretraining on video clips."
    )
    add_options(parser)
    parser.add_argument(
        "--list-tasks", action="store_true", help="print all recipes, as `clipfeed recipes` does, and end"
    )
    return parser


def parse_args(argv: list[str]) -> argparse.Namespace:
    return parse(make_parser(), argv, instead_of_config="list_tasks")


def main(argv: list[str]) -> int:
    args = parse_args(argv)
    if args.list_tasks:
        recipes.main([])
        return 0
    config = load(args.config, overrides(args))
    if config.task == "recognition":
        raise UserError(f"{args.config} is a recipe for clipfeed finetune: `task: recognition` is no pretext task")
    if args.print_config:
        print(dump(config), end="")
        return 0
    check_recipe(config)
    with start(args.device) as ranks:
        for note in ignored_options(config.train, ranks) if ranks.rank == 0 else []:
            print(f"note: {note}", flush=True)
        ending = work(config, ranks, args)
        if ranks.rank == 0:
            print(ending.words, flush=True)
    return exit_status(128 + ending.signal if ending.signal else 0)


def work(config: Config, ranks: Ranks, args: argparse.Namespace) -> Ending:
    """Train, or make the dry run; return how it ended.

    A function of its own, so that the network is freed before `start` ends the process group. If DDP holds the
    group's last reference, it frees it under the GIL, for which gloo's thread may be waiting: the rank never exits.
    """
    dataset = open_data(config.data)
    for note in dataset.notes if ranks.rank == 0 else []:
        print(f"note: {note}", flush=True)
    loader = build_loader(config, ranks, dataset.index)
    try:
        torch.manual_seed(config.seed)
        net = build_task(config.task, config.backbone, loader.task.batch_schema, config.net)
        run = build_run(config, ranks, loader, net)
        if args.dry_run:
            return dry_run(run)
        return fit(
            run,
            loader,
            resume_from=args.resume,
            max_steps=args.max_steps,
            missing=dataset.missing,
            next_steps=after_pretrain(config, loader.index),
        )
    finally:
        loader.close()
