"""The figures of bench/loader_throughput.py as a table and a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.errors import UserError
from dali_pipelines.store.files import replacing

Figures = Mapping[str, Mapping[str, Any]]
"""Of each task, what `loader_throughput.measure_task` returns."""

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
    """A line a task of what became of the peers, then all figures of the tasks and of the peers, as Markdown."""
    rivals = {name: figures for name, figures in tasks.items() if isinstance(figures["peers"], Mapping)}
    lines = _summary(rivals) if rivals else []
    lines += [f"| task | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [
        f"| `{name}` | {' | '.join(_text(figures[key]) for key in COLUMNS.values())} |"
        for name, figures in tasks.items()
    ]
    for name, figures in rivals.items():
        lines += ["", f"| `{name}` | {' | '.join(PEER_COLUMNS)} |", "|---" * (len(PEER_COLUMNS) + 1) + "|"]
        shown = {"this loader": {**figures, "lead": "", "lead_quartiles": ""}, **figures["peers"]}
        lines += [
            f"| {p} | {' | '.join(_text(f.get(k, '')) for k in PEER_COLUMNS.values())} |" for p, f in shown.items()
        ]
        blank = " |" * (len(PEER_COLUMNS) - 1)
        lines += [f"| {peer} | not measured: {why} |{blank}" for peer, why in figures["peers_missing"].items()]
    return "\n".join(lines)


def _summary(rivals: Figures) -> list[str]:
    """Our lead over the best peer, and over the best of those that read the sources themselves."""
    peer = "its clips/s | lead | quartiles"
    lines = [f"| task | clips/s | of decode only | best peer | {peer} | of sources | {peer} |", "|---" * 11 + "|"]
    for name, figures in rivals.items():
        cells = [f"`{name}`", figures["clips_per_s"], figures["decode_ceiling_share"]]
        for key in ("best_peer", "best_peer_of_sources"):
            best = figures.get(key)
            one = figures["peers"].get(best, {})
            cells += [best or "none", *(_text(one.get(k, "")) for k in ("clips_per_s", "lead", "lead_quartiles"))]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return [*lines, ""]


def _text(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


def plot(tasks: Figures, title: str, out: Path) -> None:
    """Bars with quartiles, a panel a task: the loader, its ceilings and the peers.

    Beside peers there is no ceiling of augmenting: it is so much faster that the others would be short.
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
    with replacing(out) as part:
        figure.savefig(part, dpi=110, format="png")
    plt.close(figure)


def _bars(figures: Mapping[str, Any]) -> dict[str, tuple[float, list[float]]]:
    """Name -> clips/s and their quartiles."""
    bars = {name: (figures[key], figures[f"{key}_quartiles"]) for name, key in OURS.items()}
    peers = figures["peers"] if isinstance(figures["peers"], Mapping) else {}
    return bars | {name: (peer["clips_per_s"], peer["clips_per_s_quartiles"]) for name, peer in peers.items()}
