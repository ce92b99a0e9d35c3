"""Draw figures with matplotlib: panels, and the file."""

from pathlib import Path
from typing import Any

from dali_pipelines.store.files import replacing


def panels(count: int, columns: int, *, size: tuple[float, float], title: str = "", **shared: Any) -> list[Any]:
    """Return the axes of `count` panels in rows of `columns`.

    Args:
        size: width and height of the whole figure, inches.
        title: of the whole figure; a long one is wrapped.
        shared: `sharex` and `sharey` of matplotlib.
    """
    from matplotlib.figure import Figure

    figure = Figure(size, layout="constrained")
    if title:
        figure.suptitle(title, wrap=True)
    axes = figure.subplots(-(-count // columns), columns, squeeze=False, **shared).flat
    for unused in axes[count:]:
        unused.remove()
    return list(axes[:count])


def save(axes: list[Any], out: Path) -> None:
    """Write the figure of these panels as a PNG."""
    with replacing(out) as temporary:
        axes[0].figure.savefig(temporary, dpi=110, format="png")
