"""The figures of bench/loader_throughput.py as a table and a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.report import markdown
from configs.errors import UserError
from dali_pipelines.store.files import replacing

Figures = Mapping[str, Mapping[str, Any]]
"""Of each task, what `loader_rounds.measure_task` returns."""

OURS = {
    "this loader": "clips_per_s",
    "decode only": "decode_only_clips_per_s",
    "augment only": "augment_only_clips_per_s",
}

COLUMNS = {
    "clips/s": "clips_per_s",
    "quartiles": "clips_per_s_quartiles",
    "frames/s": "frames_per_s",
    "ms p50": "batch_ms_p50",
    "p95": "batch_ms_p95",
    "p99": "batch_ms_p99",
    "of decode only": "decode_ceiling_share",
    "of augment only": "augment_ceiling_share",
    "amplification": "amplification",
    "KiB/clip": "read_kib_per_clip",
    "CPU s/1000": "cpu_s_per_1000_clips",
}

PEER_COLUMNS = {
    "clips/s": "clips_per_s",
    "quartiles": "clips_per_s_quartiles",
    "our lead": "lead",
    "its quartiles": "lead_quartiles",
    "CPU s/1000": "cpu_s_per_1000_clips",
    "workers": "workers",
    "differs by": "difference_to_ours",
}


def table(tasks: Figures) -> str:
    """Return Markdown: of each task with peers a line about them, then all figures of the tasks and of the peers."""
    with_peers = {name: figures for name, figures in tasks.items() if isinstance(figures["peers"], Mapping)}
    lines = _summary(with_peers) if with_peers else []
    lines += markdown(["task", *COLUMNS], (_row(f"`{name}`", figures, COLUMNS) for name, figures in tasks.items()))
    for name, figures in with_peers.items():
        shown = {"this loader": {**figures, "lead": "", "lead_quartiles": ""}, **figures["peers"]}
        rows = [_row(peer, of_peer, PEER_COLUMNS) for peer, of_peer in shown.items()]
        blank = [""] * (len(PEER_COLUMNS) - 1)
        rows += [[peer, f"not measured: {why}", *blank] for peer, why in figures["peers_missing"].items()]
        lines += ["", *markdown([f"`{name}`", *PEER_COLUMNS], rows)]
    return "\n".join(lines)


def _row(name: str, figures: Mapping[str, Any], columns: Mapping[str, str]) -> list[str]:
    return [name, *(_text(figures.get(key, "")) for key in columns.values())]


def _summary(with_peers: Figures) -> list[str]:
    """Return our lead over the best peer, and over the best of those that read the sources themselves."""
    peer = ("its clips/s", "lead", "quartiles")
    rows = []
    for name, figures in with_peers.items():
        row = [f"`{name}`", figures["clips_per_s"], figures["decode_ceiling_share"]]
        for key in ("best_peer", "best_peer_of_sources"):
            best = figures.get(key)
            of_best = figures["peers"].get(best, {})
            row += [best or "none", *(_text(of_best.get(k, "")) for k in ("clips_per_s", "lead", "lead_quartiles"))]
        rows.append(row)
    return [*markdown(["task", "clips/s", "of decode only", "best peer", *peer, "of sources", *peer], rows), ""]


def _text(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


def plot(tasks: Figures, title: str, out: Path) -> None:
    """Draw bars with quartiles, a panel per task: the loader, its ceilings and the peers.

    Next to peers the ceiling of augmenting is left out: it is so much faster that the others would be short.
    """
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise UserError("the picture needs matplotlib: pip install 'clipfeed[plots]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    panels = {name: _bars(figures) for name, figures in tasks.items()}
    names = list(dict.fromkeys(label for bars in panels.values() for label in bars))
    if len(names) > len(OURS):
        names.remove("augment only")
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        *(rows, columns), figsize=(2 + 3 * columns, 0.7 + (0.7 + 0.2 * len(names)) * rows), layout="constrained",
        sharey=True, squeeze=False,
    )  # fmt: skip
    for axis in axes.flat[len(panels) :]:
        axis.remove()
    for axis, (task, bars) in zip(axes.flat, panels.items(), strict=False):
        shown = {label: bars[label] for label in names if label in bars}
        values = [value for value, _ in shown.values()]
        ends = [
            [max(v - low, 0) for v, (low, _) in shown.values()],
            [max(high - v, 0) for v, (_, high) in shown.values()],
        ]
        colors = ["C0" if label == "this loader" else "0.8" if label in OURS else "C1" for label in shown]
        axis.barh([names.index(label) for label in shown], values, color=colors, xerr=ends, error_kw={"linewidth": 0.8})
        for label, value in zip(shown, values, strict=True):
            axis.text(0, names.index(label), f" {value:g}", va="center", fontsize=7)
        axis.set(yticks=range(len(names)), yticklabels=names, title=task)
        axis.grid(alpha=0.3, axis="x")
    axes[0, 0].invert_yaxis()  # that of all panels
    figure.suptitle(title)
    figure.supxlabel("clips/s")
    with replacing(out) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)


def _bars(figures: Mapping[str, Any]) -> dict[str, tuple[float, list[float]]]:
    """Return name -> clips/s and their quartiles."""
    bars = {name: (figures[key], figures[f"{key}_quartiles"]) for name, key in OURS.items()}
    peers = figures["peers"] if isinstance(figures["peers"], Mapping) else {}
    return bars | {name: (peer["clips_per_s"], peer["clips_per_s_quartiles"]) for name, peer in peers.items()}
