"""How sure a measured share is."""

import math

Z = 1.96  # standard deviations around the mean that hold 95 % of a normal distribution


def wilson(correct: float, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson's score)."""
    share, spread = correct / total, Z * Z / total
    middle = (share + spread / 2) / (1 + spread)
    reach = Z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    return middle - reach, middle + reach
