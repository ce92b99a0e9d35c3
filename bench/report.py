"""What every bench shares: JSON with the machine it came from, and Markdown tables."""

import json
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.machine import machine
from dali_pipelines.store.files import replacing


def save_json(path: Path | None, **figures: Any) -> None:
    """Write figures with the machine they came from; do nothing without a path."""
    if path:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps({"machine": machine(), **figures}, indent=1) + "\n")


def markdown(head: Sequence[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return lines + [f"| {' | '.join(map(str, row))} |" for row in rows]


def median_range(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Return the median, the least and the greatest of the values of some rounds."""
    return {name: round(of(values), digits) for name, of in (("median", statistics.median), ("min", min), ("max", max))}


def percent_interval(mean: float, interval: Sequence[float]) -> str:
    """Return a share and its interval in percent: `77.5 (70 to 83)`."""
    low, high = interval
    return f"{100 * mean:.1f} ({100 * low:.0f} to {100 * high:.0f})"
