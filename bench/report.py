"""Tables in Markdown, figures in words, and committed results. Imports nothing heavy: gpu_report.py needs no torch."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def committed(name: str) -> dict[str, Any]:
    """Return the committed result NAME.json, whatever its machine."""
    (path,) = RESULTS.rglob(f"{name}.json")
    return dict(json.loads(path.read_text()))


def markdown(head: Sequence[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return lines + [f"| {' | '.join(map(str, row))} |" for row in rows]


def median_range(values: Sequence[float], digits: int = 1) -> dict[str, float]:
    """Return the median, minimum and maximum of the values of some rounds."""
    return {name: round(of(values), digits) for name, of in (("median", statistics.median), ("min", min), ("max", max))}


def lead(rates: Mapping[str, Sequence[float]], one: str, over: str) -> float:
    """Return the median of the rounds' ratios: the rate of `one` / that of `over`."""
    return statistics.median(a / b for a, b in zip(rates[one], rates[over], strict=True))


def in_words(spread: Mapping[str, float], digits: int) -> str:
    """Format the result of `median_range`: `77 (70 to 83)`."""
    median, least, most = (f"{spread[name]:.{digits}f}" for name in ("median", "min", "max"))
    return f"{median} ({least} to {most})"


def percent_interval(mean: float, interval: Sequence[float]) -> str:
    """Format a share and its interval in percent: `77.5 (70 to 83)`."""
    low, high = interval
    return f"{100 * mean:.1f} ({100 * low:.0f} to {100 * high:.0f})"
