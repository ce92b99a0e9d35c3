"""Describe a dataset's contents and costs, in sections for both the terminal and a web page."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Section:
    """A table of text, and the bars of its plot.

    Attributes:
        bars: label and height of each bar; empty if there is no plot.
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
    """Return at most `most` numbers below `count`, evenly spread from the first to the last."""
    rows: list[int] = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int)).tolist()
    return rows
