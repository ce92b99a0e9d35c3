"""Tables in Markdown, and figures in words. Imports nothing heavy: bench/gpu_report.py runs without torch too."""

import statistics
from collections.abc import Iterable, Sequence


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
