"""What a dataset holds and costs, in sections that a terminal and a page show alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Section:
    """A table of text, and what of it can be drawn.

    Attributes:
        bars: label and height of each bar of a plot; none where there is nothing to draw.
        unit: of the heights.
        notes: sentences below the table.
    """

    title: str
    rows: Sequence[tuple[str, ...]]
    header: tuple[str, ...] = ()
    bars: Sequence[tuple[str, float]] = ()
    unit: str = "videos"
    notes: Sequence[str] = ()


def spread(count: int, most: int) -> list[int]:
    """Return at most `most` rows of `count`, evenly spread from the first to the last."""
    rows: list[int] = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
    return rows
