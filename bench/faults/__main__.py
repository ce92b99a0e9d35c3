"""Kill runs and workers of loaders, and count what survives: `python -m bench.faults --json bench/results/faults.json`.

All take three hours on two cores: name some, and shorten them with --scale. The file keeps the rows of the others.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench.faults import kills, workers
from bench.faults.row import Row, save
from configs.errors import UserError, run_cli
from configs.options import number

FAULTS: dict[str, Callable[[float, Path], Row]] = {
    **{f"kills_{task}": partial(kills.inject, task=task) for task in kills.RECIPES},
    "workers": workers.inject,
    "workers_busy": workers.inject_busy,
}
"""Name -> the function that injects the fault. It takes a share of all kills and a folder, and returns the row."""


def parse_args(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description="What survives which fault?")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAULTS)} (all)")
    parser.add_argument("--scale", type=number(0.001), default=1.0, help="share of the full number of faults (1)")
    parser.add_argument("--work-dir", type=Path, default=Path("runs/faults"), help="for what they write (runs/faults)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, beside those of other faults")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.names if name not in FAULTS]:
        raise UserError(f"no fault {unknown[0]!r}; there are {', '.join(FAULTS)}")
    return args


def main(argv: list[str]) -> int:
    args = parse_args(argv)
    command = " ".join(["python -m bench.faults", *args.names, *(["--scale", f"{args.scale:g}"] * (args.scale != 1))])
    passed = True
    for name in args.names or FAULTS:
        folder = args.work_dir / name
        folder.mkdir(parents=True, exist_ok=True)
        row = FAULTS[name](args.scale, folder)
        print(row.table(), flush=True)
        if args.json:  # at once: the next fault may take hours
            save(args.json, row, command=command)
        passed = passed and row.passed
    return int(not passed)


if __name__ == "__main__":
    run_cli(main)
