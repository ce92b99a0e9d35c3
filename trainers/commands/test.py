"""Measure a trained network: `torchrun --standalone trainers/test.py --checkpoint CKPT --protocol P`."""

import argparse
from dataclasses import replace
from pathlib import Path

from configs.errors import UserError
from configs.load import dump, load, parse
from configs.options import add_machine, add_overrides, given, overrides
from configs.schema import Recognition
from trainers.engine import checkpoint
from trainers.engine.devices import enough_memory
from trainers.engine.distributed import Ranks, start
from trainers.engine.identity import options, versions
from trainers.engine.work_dir import BEST, CHECKPOINTS, require_writable
from trainers.evaluation.protocols import OF_CLASSIFIERS, PROTOCOLS
from trainers.evaluation.videos import BATCH_AND_WAY_OUT
from trainers.weights import Weights, classifier_weights, read

WANTED = "say what to test it on with --config, a recipe of configs/recognition/"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed test", description="Test a network on the test videos of a recipe.")
    parser.add_argument("--config", metavar="YAML", help="a recipe of configs/recognition/, not the checkpoint's own")
    parser.add_argument("--checkpoint", required=True, metavar="CKPT", help="a run, a checkpoint's .pt, or an export")
    about = "; ".join(f"{name}: {(protocol.__doc__ or '').partition('.')[0]}" for name, protocol in PROTOCOLS.items())
    parser.add_argument("--protocol", required=True, choices=PROTOCOLS, help=about)
    parser.add_argument("--clips", metavar="N|windows", help="clips of a video, instead of plan.test.clips")
    parser.add_argument(
        "--crops", metavar="center|three|five|ten", help="crops of a clip (video: plan.test.crops; others: center)"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the results go (CKPT's folder/test_<protocol>)")
    add_overrides(parser)
    add_machine(parser)
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)

    with start(args.device, given(args)) as ranks, enough_memory(*BATCH_AND_WAY_OUT):
        ranks.tell(work(ranks, args))


def work(ranks: Ranks, args: argparse.Namespace) -> str:
    """Run the test and return what to print. `training.on_ranks` says why this is a separate function."""
    weights = ranks.on_rank0(lambda: read_weights(Path(args.checkpoint), args.protocol))
    ranks.tell(f"checkpoint  {weights.path} ({weights.backbone}, step {weights.step})")
    config = recipe(weights, args)
    ranks.require_same(lambda: options(config) | versions())
    where = Path(args.checkpoint)
    out: Path = args.out or (where if where.is_dir() else where.parent) / f"test_{args.protocol}"
    ranks.on_rank0(lambda: require_writable(out, option="--out"))
    return PROTOCOLS[args.protocol](weights, config, ranks, out)


def read_weights(where: Path, protocol: str) -> Weights:
    """Read the weights. For a classifier's protocol, prefer a run's best.pt to its newest checkpoint."""
    best = where / CHECKPOINTS / BEST
    if protocol not in OF_CLASSIFIERS or not best.is_file():
        weights = read(where)
    else:
        try:
            weights = read(best)
        except UserError as error:
            raise UserError(f"{error}; choose another one of {best.parent} with --checkpoint FILE.pt") from None
        if checkpoint.list_steps(best.parent) and (newest := read(where)).run != weights.run:
            raise UserError(
                f"{best} is of another run than {newest.path.name} beside it; say which one is meant with --checkpoint "
                "FILE.pt"
            )
    if protocol in OF_CLASSIFIERS:
        classifier_weights(weights)
    return weights


def recipe(weights: Weights, args: argparse.Namespace) -> Recognition:
    """Return the recipe of --config, or else the checkpoint's, with the checkpoint's backbone.

    Features use center crops by default, as in CoCLR (specs/evaluation.md 6), whatever the recipe's classifier takes.
    """
    named = {"plan.test.clips": args.clips, "plan.test.crops": args.crops}
    changes = overrides(args) + [f"{key}={value}" for key, value in named.items() if value]
    if args.config:
        config = load(args.config, changes)
        what = f"{args.config} is a recipe for clipfeed pretrain"
    elif weights.config is not None:
        config = parse(dump(weights.config), source=f"{weights.path}'s config", overrides=changes)
        what = f"{weights.path} is of the task {config.task}"
    else:
        raise UserError(f"{weights.path} has no recipe: {WANTED}")
    if not isinstance(config, Recognition):
        raise UserError(f"{what}: {WANTED}")
    config = replace(config, backbone=weights.backbone)
    if args.protocol in OF_CLASSIFIERS or any(change.startswith("plan.test.crops=") for change in changes):
        return config
    return replace(config, plan=replace(config.plan, test=replace(config.plan.test, crops="center")))
