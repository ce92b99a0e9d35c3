"""Options of several benches, given or made; imports nothing heavy, as workers import the scripts again."""

import argparse
from collections.abc import Mapping
from typing import Any

from configs.options import as_overrides, whole_number


def add_rounds(parser: argparse.ArgumentParser, *, batches: int, rounds: int) -> None:
    """Add the options of rounds, with these defaults."""
    parser.add_argument("--batch-size", type=whole_number(1), default=8, help="clips a batch (8)")
    timed = "timed batches a round, after some untimed ones (%(default)s)"
    turns = "rounds in which all take turns (%(default)s)"
    parser.add_argument("--batches", type=whole_number(1), default=batches, help=timed)
    parser.add_argument("--rounds", type=whole_number(1), default=rounds, help=turns)


def loader_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the loader's settings that the options ask for. Device `auto` is a GPU if there is one."""
    device = args.device
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return {name: getattr(args, name) for name in ("batch_size", "workers", "threads")} | {"device": device}


def as_options(changes: Mapping[str, object]) -> list[str]:
    """Write changes of a recipe as options of a command."""
    return [word for override in as_overrides(changes) for word in ("--set", override)]
