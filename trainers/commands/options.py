"""Options shared by the commands."""

import argparse

from configs.options import add_overrides, require_least


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a training command."""
    parser.add_argument("--config", required=True, metavar="YAML", help="the recipe, see configs/")
    add_overrides(parser)
    add_machine(parser)
    parser.add_argument("--work-dir", metavar="DIR", help="the folder of the run, instead of work_dir")
    parser.add_argument(
        "--resume", default="auto", metavar="WHAT", help="auto (newest checkpoint), none, or a .pt file"
    )
    parser.add_argument("--max-steps", type=int, metavar="N", help="stop after step N of the unchanged schedule")
    parser.add_argument("--print-config", action="store_true", help="print the config with all defaults, and exit")
    parser.add_argument("--dry-run", action="store_true", help="run two steps, show the batch, write nothing")


def add_machine(parser: argparse.ArgumentParser) -> None:
    """Add the options that do not change the recipe: the device, and whether to show tracebacks."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto takes the GPU if there is one"
    )
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def parse(parser: argparse.ArgumentParser, argv: list[str]) -> argparse.Namespace:
    """Parse and check a training command's arguments."""
    args = parser.parse_args(argv)
    require_least(parser, args, max_steps=1)
    return args
