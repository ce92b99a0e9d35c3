"""The confusion matrix as a picture."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from configs.errors import shown
from dali_pipelines.store.files import replacing

WITH_COUNTS = 20  # most classes for which a cell has room for its count
MAX_NAMED = 400  # most classes with names and a grid; with more, time and memory would pass minutes and gigabytes
MAX_NAME = 40  # characters of a class name
UNNAMED_INCHES = 20  # of the picture without names


def draw(table: np.ndarray, columns: Sequence[str], path: Path, *, title: str) -> None:
    """Draw a PNG with a row per true class, a column per prediction, and the share of the row as color.

    `table` is int64 (K, K or more), counts; of the names of its `columns`, the first K are those of the rows.
    """
    from matplotlib.colors import PowerNorm
    from matplotlib.figure import Figure

    classes = len(table)
    named = classes <= MAX_NAMED
    cell = min(max(9 / classes, 0.15), 0.6) if named else UNNAMED_INCHES / classes  # inches
    size = min(0.65 * 72 * cell, 10)  # points
    texts = map(shown, columns if named else ())
    names = [name if len(name) <= MAX_NAME else f"{name[: MAX_NAME - 1]}…" for name in texts]
    margin = 0.6 * size / 72 * max(map(len, names), default=0) + 0.8
    figure = Figure((cell * len(columns) + margin + 1, cell * classes + margin + 0.6), layout="constrained")
    axes = figure.subplots()
    shares = table / np.maximum(table.sum(1, keepdims=True), 1)
    # The square root of the share keeps one video in a hundred visible.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1), interpolation="nearest")
    if named:
        # parse_math: a $ is no formula
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=size, parse_math=False)
        axes.set_yticks(range(classes), names[:classes], fontsize=size, parse_math=False)
        axes.set_xticks(np.arange(len(names) + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(classes + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="lightgray", linewidth=0.4)
        axes.tick_params(which="minor", length=0)
    for row, column in np.argwhere(table) if classes <= WITH_COUNTS else ():
        color = "white" if shares[row, column] > 0.4 else "black"
        axes.text(column, row, table[row, column], ha="center", va="center", color=color, fontsize=size)
    axes.set(xlabel="predicted", ylabel="true class", title=title)
    figure.colorbar(image, ax=axes, label="share of the class's videos", shrink=0.6, ticks=(0, 0.05, 0.2, 0.5, 1))
    with replacing(path) as part, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph ")  # a letter that the font lacks, one line for each
        figure.savefig(part, dpi=120, format="png", bbox_inches="tight")
