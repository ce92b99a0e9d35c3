"""Draw the memory curves of bench/results/faults.json: `python -m bench.faults.draw FILE PICTURE`."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bench.picture import panels, save
from configs.errors import UserError, run_cli

UNITS = {"seconds": ("minutes", 60)}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.faults.draw", description="Draw the memory of long runs.")
    parser.add_argument("file", type=Path, metavar="FILE", help="what `python -m bench.faults --json FILE` wrote")
    parser.add_argument("picture", type=Path, metavar="PICTURE", help="a .png")
    args = parser.parse_args(argv)
    rows = json.loads(args.file.read_text())["faults"]
    curves = {fault: row["details"] for fault, row in rows.items() if "curve" in row["details"]}
    if not curves:
        raise UserError(f"{args.file}: no row has a curve; python -m bench.faults soak memory --json {args.file}")
    draw(args.picture, curves)


def draw(out: Path, curves: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw a panel for each fault, from its details."""
    axes = panels(len(curves), 1, size=(7, 2.6 * len(curves)))
    for axis, (fault, details) in zip(axes, curves.items(), strict=True):
        at, memory = np.asarray(details["curve"], float)[:, :2].T
        unit, factor = UNITS.get(details["curve_of"][0], (details["curve_of"][0], 1))
        axis.plot(at / factor, memory)
        axis.set(title=fault, xlabel=unit, ylabel=details["curve_of"][1], ylim=(0, 1.15 * memory.max()))
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.3)
        axis.text(0.02, 0.06, f"growth after the first tenth: {details['growth']:+.1%}", transform=axis.transAxes)
    save(axes, out)


if __name__ == "__main__":
    run_cli(main)
