"""Train a classifier: `torchrun --standalone trainers/finetune.py --config C --mode M --pretrained CKPT`.

Recipes are in configs/recognition/.
"""

import argparse
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import torch

from configs.errors import UserError
from configs.load import load
from configs.options import overrides
from configs.schema import Recognition
from configs.words import counted
from dali_pipelines.datasets.hold_out import hold_out
from dali_pipelines.datasets.open import open_data
from dali_pipelines.next_steps import after_finetune
from dali_pipelines.store.index import Index
from dali_pipelines.store.storage import exists
from nets.classifier import Classifier
from trainers.commands.training import add_options, on_ranks, parse, train
from trainers.engine.build import build_loader, build_net, build_run
from trainers.engine.distributed import Ranks
from trainers.engine.loop import Ending
from trainers.engine.work_dir import CHECKPOINTS
from trainers.evaluation.notes import clip_differences, notes_on
from trainers.evaluation.validation import Validator
from trainers.weights import read

MODES = {
    "full": "train all of a pretrained network",
    "linear": "train only the classifier, on a frozen backbone",
    "scratch": "train all from random weights",
}


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed finetune", description="Train a classifier on labeled videos.")
    add_options(parser)
    parser.add_argument("--pretrained", metavar="CKPT|none", help="a run, a checkpoint's .pt, an export, or none")
    about = "; ".join(f"{mode}: {what}" for mode, what in MODES.items())
    parser.add_argument("--mode", choices=MODES, default="full", help=about)
    return parser


def main(argv: list[str]) -> int:
    args = parse(make_parser(), argv)
    config = load(args.config, overrides(args))
    if not isinstance(config, Recognition):
        ours = "`clipfeed recipes recognition` lists those of finetune"
        raise UserError(f"{args.config} is a recipe for clipfeed pretrain; {ours}")
    return on_ranks(config, args, work)


def work(config: Recognition, ranks: Ranks, args: argparse.Namespace) -> Ending:
    """Train, or do a dry run; return how it ended."""
    if args.mode == "full" and args.pretrained in (None, "none"):
        raise UserError("--mode full needs --pretrained CKPT; with --mode scratch training starts from random weights")
    if args.mode == "linear" and args.pretrained is None:
        raise UserError("--mode linear needs --pretrained CKPT, or none for a frozen backbone of random weights")
    args.pretrained = args.pretrained or "none"
    if args.mode == "scratch" and args.pretrained != "none":
        raise UserError(f"--mode scratch starts from random weights and takes no --pretrained {args.pretrained}")
    listed = open_data(config.data, "train")
    index, held_out = split(config, listed.index)
    notes = listed.notes + split_notes(config, index)
    with closing(build_loader(config, ranks, index)) as loader:
        torch.manual_seed(config.seed)
        classes = len(index.class_names)
        net = build_net(config, classes)
        identity = {"mode": args.mode, "classes": classes, "pretrained": "none"}
        if args.pretrained != "none":
            weights = ranks.on_rank0(lambda: read(args.pretrained))
            weights.load_backbone(net.backbone, config.backbone)
            if args.mode == "linear":
                weights.require_statistics()
            identity["pretrained"] = ranks.on_rank0(lambda: weights.sha256)
            identity["pretrained_path"] = str(weights.path)
            notes += clip_differences(config, weights.clip)
        ranks.note(notes)
        if args.mode == "linear":
            assert isinstance(net, Classifier)
            net.freeze()
        run = build_run(config, ranks, loader, net, identity=identity, classes=index.class_names)
        if held_out is not None:
            run = replace(run, validator=Validator(held_out, config, ranks, Path(config.work_dir, CHECKPOINTS)))
        return train(run, args, missing=listed.missing, next_steps=lambda: after_finetune(config))


def split(config: Recognition, index: Index) -> tuple[Index, Index | None]:
    """Return the videos to train on and the videos to validate on, if any."""
    data, validation = config.data, config.validation
    if validation.reference.select_on_test:
        return index, open_data(data, "test").index
    if validation.share == 0:
        if config.schedule.kind == "plateau":
            raise UserError("schedule.kind plateau waits for the validation loss: set validation.share above 0")
        return index, None
    train, held = hold_out(index, validation.share, config.seed)
    if not len(held):
        raise UserError(
            f"validation.share = {validation.share} keeps none of {counted(len(index), 'training video')} for "
            "validation: raise it, or set it to 0 for none"
        )
    return index.select(train), index.select(held)


def split_notes(config: Recognition, index: Index) -> list[str]:
    """List problems of the video lists that affect a result, such as quarantined test videos, one sentence each."""
    test_list = config.data.list_of("test") if config.data.test_list else None
    if not test_list:
        return notes_on(index, None)
    if not exists(test_list):
        return [f"data.test_list: there is no {test_list}; clipfeed test will need it", *notes_on(index, None)]
    dataset = open_data(config.data, "test")
    return dataset.notes + notes_on(index, dataset.index)
