"""Pretrain a network without labels: `torchrun --standalone trainers/pretrain.py --config ctp/r3d18_ucf101`.

Plain `python` trains in one process.
"""

import argparse
from contextlib import closing

import torch

from configs import recipes
from configs.errors import UserError
from configs.load import load
from configs.options import overrides
from configs.schema import Config
from dali_pipelines.datasets.open import open_data
from dali_pipelines.next_steps import after_pretrain
from trainers.commands.training import add_options, on_ranks, parse, train
from trainers.engine.build import build_loader, build_net, build_run
from trainers.engine.distributed import Ranks
from trainers.engine.loop import Ending


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed pretrain", description="Pretrain on videos without labels.")
    add_options(parser)
    parser.add_argument("--list-tasks", action="store_true", help="print all recipes, as `clipfeed recipes`, and exit")
    return parser


def main(argv: list[str]) -> int:
    args = parse(make_parser(), argv)
    if args.list_tasks:
        recipes.main([])
        return 0
    config = load(args.config, overrides(args))
    if config.task == "recognition":
        raise UserError(f"{args.config} is a recipe for clipfeed finetune: `task: recognition` is no pretext task")
    return on_ranks(config, args, work)


def work(config: Config, ranks: Ranks, args: argparse.Namespace) -> Ending:
    """Train, or do a dry run; return how it ended."""
    dataset = open_data(config.data)
    ranks.note(dataset.notes)
    with closing(build_loader(config, ranks, dataset.index)) as loader:
        torch.manual_seed(config.seed)
        net = build_net(config)
        run = build_run(config, ranks, loader, net)
        return train(run, args, missing=dataset.missing, next_steps=lambda: after_pretrain(config, loader.index))
