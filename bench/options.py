"""Options of several benches, and their checks; imports nothing heavy, as workers import the scripts again."""

import argparse
from pathlib import Path
from typing import Any

from configs.errors import UserError
from dali_pipelines import limits


def add_rounds(parser: argparse.ArgumentParser, *, batches: int, rounds: int) -> None:
    """Add the options of rounds, with these defaults."""
    parser.add_argument("--batch-size", type=int, default=8, help="clips a batch (8)")
    parser.add_argument(
        "--batches", type=int, default=batches, help="timed batches a round, after some untimed ones (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=rounds, help="rounds in which all take turns (%(default)s)")


def add_storage(parser: argparse.ArgumentParser, *, rounds: int) -> None:
    """Add the options of a bench that stores the same videos in several ways."""
    cores = limits.cores()
    parser.add_argument("sources", nargs="*", type=Path, metavar="SRC", help="some of your videos (8 made-up ones)")
    parser.add_argument("--task", default="recognition", help="whose clips are timed (recognition)")
    parser.add_argument("--workers", type=int, default=cores, help="worker processes; 0 is none (one per core)")
    parser.add_argument("--threads", type=int, default=cores, help="DALI threads (one per core)")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/bench/storage"), help="where it stores them")
    add_rounds(parser, batches=8, rounds=rounds)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def loader_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Return the loader's settings from the options; device `auto` is a GPU if any; without --device, the CPU."""
    device = getattr(args, "device", "cpu")
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    return {name: getattr(args, name) for name in ("batch_size", "workers", "threads")} | {"device": device}


def require_positive(args: argparse.Namespace, *names: str) -> None:
    """Raise UserError for an option below 1."""
    for name in names:
        if getattr(args, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} {getattr(args, name)}: at least 1")
