"""The options that commands share."""

import argparse
import json


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a training command."""
    parser.add_argument("--config", metavar="YAML", help="the recipe, see configs/")
    add_overrides(parser)
    parser.add_argument("--work-dir", metavar="DIR", help="where the run is kept, instead of work_dir")
    parser.add_argument(
        "--resume", default="auto", metavar="WHAT", help="auto (newest checkpoint), none, or a .pt file"
    )
    parser.add_argument("--max-steps", type=int, metavar="N", help="stop after optimizer step N; the schedule stays")
    parser.add_argument("--print-config", action="store_true", help="print the config with all defaults, and end")
    parser.add_argument("--dry-run", action="store_true", help="two steps with a table of the batch; writes nothing")


def add_overrides(parser: argparse.ArgumentParser) -> None:
    """Add the options with which any command changes a recipe."""
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key: optim.lr=0.02")
    parser.add_argument("--data-dir", metavar="DIR", help="the dataset, instead of data.root")
    add_device(parser)
    parser.add_argument("--debug", action="store_true", help="show tracebacks")


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where to compute."""
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto takes the GPU where there is one"
    )


def parse(
    parser: argparse.ArgumentParser, argv: list[str], *, instead_of_config: str | None = None
) -> argparse.Namespace:
    """Parse and check a training command's arguments. `instead_of_config` names an option that needs no recipe."""
    args = parser.parse_args(argv)
    if args.config is None and not (instead_of_config and getattr(args, instead_of_config)):
        parser.error("the following arguments are required: --config")
    if args.max_steps is not None and args.max_steps < 1:
        parser.error(f"--max-steps {args.max_steps}: at least 1")
    return args


def overrides(args: argparse.Namespace) -> list[str]:
    """Return what the options change of the recipe, for `configs.load.load`."""
    named = {"data.root": args.data_dir, "work_dir": getattr(args, "work_dir", None)}
    return [*args.set] + [f"{key}={json.dumps(str(value))}" for key, value in named.items() if value is not None]
