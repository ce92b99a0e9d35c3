"""Options of several benches, and their checks; imports nothing heavy, as workers import the scripts again."""

import argparse
from typing import Any

from configs.errors import UserError


def add_rounds(parser: argparse.ArgumentParser, *, batches: int, rounds: int) -> None:
    """Add the options of rounds, with these defaults."""
    parser.add_argument("--batch-size", type=int, default=8, help="clips a batch (8)")
    parser.add_argument(
        "--batches", type=int, default=batches, help="timed batches a round, after some untimed ones (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds in which all take turns (%(default)s)")


def loader_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the loader's settings that the options ask for. UserError for --workers below 0.

    Device `auto` is a GPU if there is one.
    """
    if args.workers is not None and args.workers < 0:
        raise UserError(f"--workers {args.workers}: at least 0")
    device = args.device
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return {name: getattr(args, name) for name in ("batch_size", "workers", "threads")} | {"device": device}


def require_positive(args: argparse.Namespace, *names: str) -> None:
    """Raise UserError for an option below 1."""
    for name in names:
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1")
