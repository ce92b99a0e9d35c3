"""Record the gate's ratios over time, one line of JSON per run, and plot them."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.picture import panels, save
from configs.errors import UserError

HISTORY = Path(__file__).parent / "results" / "history.jsonl"


def record(ratios: Mapping[str, Mapping[str, float]], machine: Mapping[str, Any], path: Path = HISTORY) -> None:
    """Add a line with date, commit, processor and the ratios of each task."""
    line = {key: machine[key] for key in ("date", "commit", "cpu", "cores")} | {"ratios": ratios}
    with path.open("a") as file:
        file.write(json.dumps(line) + "\n")


def plot(out: Path, path: Path = HISTORY) -> None:
    """Plot each ratio over the recorded runs: a panel per ratio, a line per task and processor."""
    if not path.is_file():
        raise UserError(f"{path} is not there: nothing has been recorded yet, see --record")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    names = list(dict.fromkeys(name for line in lines for of_task in line["ratios"].values() for name in of_task))
    series = list(dict.fromkeys((line["cpu"], task) for line in lines for task in line["ratios"]))
    axes = panels(len(names), len(names), size=(4.5 * len(names), 3.4))
    for axis, name in zip(axes, names, strict=True):
        for cpu, task in series:
            points = [
                (datetime.fromisoformat(line["date"]), line["ratios"][task][name])
                for line in lines
                if line["cpu"] == cpu and name in line["ratios"].get(task, {})
            ]
            axis.plot(*zip(*points, strict=True), marker="o", label=f"{task}, {cpu}")
        axis.set(title=name.replace("_", " "), ylim=(0, None))
        axis.tick_params("x", rotation=30)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=6)
    save(axes, out)
