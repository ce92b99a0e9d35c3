"""What a prepared dataset holds, and what each task would pay for it: `clipfeed inspect DIR`.

Prints tables. `--out FILE.html` also writes a page with plots and pictures. `--config C` uses one recipe's task,
settings and video list instead of all tasks with their defaults.
"""

import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

from configs.errors import UserError, shown
from configs.load import load
from configs.options import require_recipe
from dali_pipelines.datasets.dataset import Dataset
from dali_pipelines.datasets.open import open_data, open_dataset
from dali_pipelines.inspection import Section
from dali_pipelines.inspection.contents import contents
from dali_pipelines.inspection.costs import gain, task_costs
from dali_pipelines.inspection.page import page
from dali_pipelines.next_steps import after_prepare
from dali_pipelines.store.files import write_file
from dali_pipelines.tasks import Task, task_module, task_names

SHOWN = 12
"""Rows printed per table."""


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="clipfeed inspect", description=__doc__.split("\n")[0])
    parser.add_argument("dataset", nargs="?", metavar="DIR", help="a prepared dataset (that of --config)")
    parser.add_argument("--config", metavar="YAML", help="a recipe, see configs/: its task and its list of videos")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the recipe")
    parser.add_argument("--out", type=Path, metavar="FILE", help="an .html page or a .json to write as well")
    return parser


def main(argv: list[str]) -> None:
    args = make_parser().parse_args(argv)
    require_recipe(args)
    if args.out and args.out.suffix not in (".html", ".json"):
        raise UserError(f"--out {args.out}: give a name that ends in .html or .json")
    dataset, tasks = _open(args)
    sections = [*contents(dataset), task_costs(dataset, tasks), *gain(dataset.index)]
    print(text(sections))
    if args.out:
        facts = json.dumps([asdict(section) for section in sections], indent=1)
        content = page(dataset.index, sections) if args.out.suffix == ".html" else facts
        write_file(args.out, content)
        print(f"\n{args.out} written")
    if not args.config:
        print("\n".join(["", *after_prepare(dataset.index)]))


def _open(args: argparse.Namespace) -> tuple[Dataset, list[Task]]:
    if not args.config:
        if not args.dataset:
            raise UserError("give the folder of a prepared dataset, or --config with a recipe that names one")
        pretext = [name for name in task_names() if name not in ("evaluation", "recognition")]
        return open_dataset(args.dataset), [Task(name, task_module(name).Config()) for name in pretext]
    config = load(args.config, args.set)
    data = replace(config.data, root=args.dataset) if args.dataset else config.data
    return open_data(data), [Task(config.task, config.plan)]


def text(sections: list[Section]) -> str:
    """Format sections as plain-text tables with aligned columns; long tables are truncated."""
    blocks = []
    for section in sections:
        rows = [section.header, *section.rows[:SHOWN]] if section.header else section.rows[:SHOWN]
        rows = [tuple(map(shown, row)) for row in rows]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        if len(section.rows) > SHOWN:
            lines.append(f"... {len(section.rows) - SHOWN} more")
        blocks.append("\n".join([f"== {shown(section.title)}", *lines, *map(shown, section.notes)]))
    return "\n\n".join(blocks)
