"""Plot the figures of bench/loader_throughput.py."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.loader.contenders import OURS, SOURCES
from bench.picture import panels, save

CEILINGS = ("decode_only", "decode_and_cut")
COLORS = {"ours": "#8fb8de", "ceiling": "0.88", SOURCES: "#f7c38a", "prepared": "#e9a3a3"}


def plot(tasks: Mapping[str, Mapping[str, Any]], title: str, out: Path) -> None:
    """Draw bars with quartiles, a panel per task: our loader on each store, its ceilings, and the peers."""
    shown = {task: [*bars(figures)] for task, figures in tasks.items()}
    labels = list(dict.fromkeys(label for of_task in shown.values() for label, _, _ in of_task))
    columns = min(3, len(shown))
    rows = -(-len(shown) // columns)
    size = 3 + 4 * columns, 0.9 + (0.6 + 0.19 * len(labels)) * rows
    axes = panels(len(shown), columns, size=size, title=title, sharey=True)
    for axis, (task, of_task) in zip(axes, shown.items(), strict=True):
        for label, color, one in of_task:
            y, rate, (low, high) = labels.index(label), one["clips_per_s"], one["clips_per_s_quartiles"]
            ends = [[max(rate - low, 0)], [max(high - rate, 0)]]
            axis.barh(y, rate, color=color, xerr=ends, error_kw={"linewidth": 0.8})
            kib = f", {one['read_kib_per_clip']:.0f} KiB" if "read_kib_per_clip" in one else ""
            axis.text(0, y, f" {rate:.0f}{kib}", va="center", fontsize=7)
        axis.set(yticks=range(len(labels)), yticklabels=labels, title=task)
        axis.grid(alpha=0.3, axis="x")
    axes[0].invert_yaxis()  # shared by all panels
    axes[0].figure.supxlabel("clips/s, and what a clip takes from the disk")
    save(axes, out)


def bars(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield label, color and figures of a task's bars: ours on all stores, the first one's ceilings, peers by group."""
    groups, of_ours = figures["contenders"], (OURS, *CEILINGS, "augment_only")  # the last dwarfs all others: no bar
    stores = [group for group in groups if group != SOURCES]
    order = [
        *((group, OURS) for group in stores),
        *((stores[0], name) for name in CEILINGS),
        *((group, name) for group in (SOURCES, *stores) for name in groups.get(group, {}) if name not in of_ours),
    ]
    for group, name in order:
        kind = "ours" if name == OURS else "ceiling" if name in CEILINGS else "prepared"
        color = COLORS[SOURCES if group == SOURCES else kind]
        label = f"{name.removesuffix('_prepared')} ({group})".replace("_", " ")
        yield label, color, groups[group][name]
