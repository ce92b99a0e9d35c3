"""Options shared by several commands, and the changes to a recipe that they stand for."""

import argparse
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import TypeVar

from configs.convert import LARGEST
from configs.errors import UserError

Number = TypeVar("Number", int, float)

OF_RECIPES = ("config", "set")
"""Options that name a recipe and change it."""


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the options that change a recipe."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key: optim.lr=0.02")
    parser.add_argument("--data-dir", metavar="DIR", help="the dataset, instead of data.root")


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add the options that do not change the recipe: the device, and whether to show tracebacks."""
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: the GPU, if any")
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def overrides(args: argparse.Namespace) -> list[str]:
    """Return the options' changes to the recipe, for `configs.load.load`; some commands also have --work-dir."""
    named = {"data.root": args.data_dir, "work_dir": getattr(args, "work_dir", None)}
    return [*args.set, *as_overrides({key: str(value) for key, value in named.items() if value is not None})]


def as_overrides(changes: Mapping[str, object]) -> list[str]:
    """Write changes of a recipe, by dotted key, as overrides for `configs.load.load`."""
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]


def given(args: argparse.Namespace) -> dict[str, object]:
    """Return the options that all ranks must be given alike. Recipes are compared key by key, wherever they lie."""
    return {f"--{name.replace('_', '-')}": value for name, value in vars(args).items() if name not in OF_RECIPES}


def require_recipe(args: argparse.Namespace) -> None:
    """Raise UserError for a --set without --config: it would change nothing."""
    if args.set and args.config is None:
        raise UserError(f"--set {args.set[0]} changes a recipe: name one with --config")


def whole_number(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """Return the `type` of an option that takes whole numbers of a range."""
    return partial(_in_range, int, "whole number", least, most)


def number(least: float) -> Callable[[str], float]:
    """Return the `type` of an option that takes numbers from `least` on."""
    return partial(_in_range, float, "number", least, LARGEST)


def _in_range(kind: Callable[[str], Number], words: str, least: Number, most: Number, text: str) -> Number:
    with suppress(ValueError):
        if least <= (value := kind(text)) <= most:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is no {words} from {least} to {most}")
