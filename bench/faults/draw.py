"""Plot the memory of long runs, from the rows that have a curve."""

import json
from pathlib import Path

import numpy as np

from bench.picture import panels, save
from configs.errors import UserError

UNITS = {"seconds": ("minutes", 60)}


def draw(file: Path, out: Path) -> None:
    """Draw a panel for each row of a JSON file that has a curve; UserError if none has."""
    rows = json.loads(file.read_text())["faults"]
    curves = {fault: row["details"] for fault, row in rows.items() if "curve" in row["details"]}
    if not curves:
        raise UserError(f"{file}: no row has a curve; python -m bench.faults soak memory --json {file}")
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
