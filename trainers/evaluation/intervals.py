"""Confidence intervals of measured shares."""

import math
from collections.abc import Sequence

Z = 1.96  # 95 % of a normal distribution lie within this many standard deviations of its mean


def wilson(correct: float, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a share."""
    share, spread = correct / total, Z * Z / total
    middle = (share + spread / 2) / (1 + spread)
    reach = Z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return middle - reach, middle + reach


def in_words(interval: Sequence[float], chance: float | None = None) -> str:
    """Format an interval of shares, with the chance level: "(95 %: 12.9 to 24.8; chance 12.5 %)"."""
    low, high = (100 * share for share in interval)
    by_chance = "" if chance is None else f"; chance {100 * chance:.1f} %"
    return f"(95 %: {low:.1f} to {high:.1f}{by_chance})"
