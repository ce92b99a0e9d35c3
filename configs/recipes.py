"""Find and list the recipes that come with clipfeed, by name (`clipfeed recipes`)."""

import argparse
import re
from functools import cache
from itertools import groupby
from pathlib import Path

import yaml

from configs.errors import UserError
from configs.nearest import nearest
from configs.plugins import look_up

CONFIGS = Path(__file__).parent


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed recipes", description="List the recipes that come with clipfeed.")
    parser.add_argument("task", nargs="?", metavar="TASK", help="those of one task, such as ctp or recognition")
    parser.add_argument("--names", action="store_true", help="print only the names")
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    tasks = {task: [*group] for task, group in groupby(names(), key=lambda name: name.split("/")[0])}
    chosen = {args.task: look_up(args.task, tasks, key="clipfeed recipes")} if args.task else tasks
    if args.names:
        print(*(name for group in chosen.values() for name in group), sep="\n")
    else:
        print(*(table(task, group) for task, group in chosen.items()), sep="\n")


def table(task: str, of_task: list[str]) -> str:
    """Lay out the recipes of one task under its name."""
    rows = [row(name) for name in of_task]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip() for cells in rows)
    return "\n  ".join([task, *lines])


@cache
def row(name: str) -> tuple[str, str, str, str]:
    """Return a recipe's name, backbone, dataset, and the first sentence of its comment, up to a colon."""
    text = find_ours(name).read_text(encoding="utf-8")
    keys = yaml.safe_load(text)
    comment = text[: text.index("task:")].replace("#", " ").split()
    about = re.split("[.:] ", " ".join(comment), maxsplit=1)[0].rstrip(".")
    return name, keys["backbone"], keys["data"]["root"], about


def names() -> list[str]:
    """Return the names of all recipes, such as "ctp/demo", in alphabetical order."""
    return sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.glob("*/*.yaml"))


def find(name: str | Path) -> Path:
    """Return the file of a recipe: the user's, with or without its suffix, or else ours. UserError if there is none."""
    for path in (Path(name), Path(f"{name}.yaml")):
        if path.is_file():
            return path
    try:
        return find_ours(str(name))
    except UserError as error:
        raise UserError(f"cannot read the config {str(name)!r}: No such file or directory; {error}") from None


def find_ours(name: str) -> Path:
    """Return the file of a recipe of ours, named by its place in configs/ or in the repository. UserError if none."""
    short = name.removesuffix(".yaml").removeprefix("configs/")
    path = CONFIGS / f"{short}.yaml"
    if not path.is_file():
        raise UserError(f"no recipe is called {short}{nearest(short, names())}; `clipfeed recipes` lists them")
    return path
