"""The figures of bench/loader_throughput.py as a table and a picture."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from configs.errors import UserError
from dali_pipelines.store.files import replacing

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


def table(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """The tasks, and the peers where they were measured, as Markdown."""
    lines = [f"| task | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [
        f"| `{name}` | {' | '.join(_text(figures[key]) for key in COLUMNS.values())} |"
        for name, figures in tasks.items()
    ]
    for name, figures in tasks.items():
        if not isinstance(figures["peers"], Mapping):
            continue
        lines += ["", f"| `{name}` | clips/s | quartiles | CPU s/1000 | workers | differs by |", "|---" * 6 + "|"]
        keys: tuple[str, ...] = ("clips_per_s", "clips_per_s_quartiles", "cpu_s_per_1000_clips")
        lines += [f"| this loader | {' | '.join(_text(figures[key]) for key in keys)} | {figures['workers']} | |"]
        keys = (*keys, "workers", "difference_to_ours")
        lines += [f"| {p} | {' | '.join(_text(f[key]) for key in keys)} |" for p, f in figures["peers"].items()]
        lines += [f"| {peer} | not measured: {why} | | | | |" for peer, why in figures["peers_missing"].items()]
        if "best_peer" in figures:
            low, high = figures["lead_quartiles"]
            lead = figures["lead_over_best_peer"]
            lines += ["", f"{lead} times the best peer, {figures['best_peer']} (quartiles {low} to {high})."]
    return "\n".join(lines)


def _text(value: Any) -> str:
    return " to ".join(map(str, value)) if isinstance(value, list) else str(value)


def plot(tasks: Mapping[str, Mapping[str, Any]], title: str, out: Path) -> None:
    """Bars with quartiles: each task with its two ceilings and, beside them, the peers."""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise UserError("the picture needs matplotlib: pip install 'clipfeed[plots]'") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rivals = {name: figures for name, figures in tasks.items() if isinstance(figures["peers"], Mapping)}
    figure, axes = plt.subplots(
        1, 1 + len(rivals), figsize=(8 + 4 * len(rivals), 1.5 + 0.5 * len(tasks)), layout="constrained", squeeze=False
    )
    bars = {
        "clips_per_s": "whole",
        "decode_only_clips_per_s": "decode only",
        "augment_only_clips_per_s": "augment only",
    }
    for place, (key, label) in enumerate(bars.items()):
        ys = [row + 0.27 * (place - 1) for row in range(len(tasks))]
        _bars(axes[0, 0], ys, list(tasks.values()), key, label)
    axes[0, 0].set(yticks=range(len(tasks)), yticklabels=tasks, xlabel="clips/s")
    axes[0, 0].legend(loc="best")
    for axis, (name, figures) in zip(axes[0, 1:], rivals.items(), strict=True):
        shown = {"this loader": figures, **figures["peers"]}
        _bars(axis, list(range(len(shown))), list(shown.values()), "clips_per_s", None)
        axis.set(yticks=range(len(shown)), yticklabels=shown, xlabel="clips/s", title=name)
    for axis in axes.flat:
        axis.invert_yaxis()
        axis.grid(alpha=0.3, axis="x")
    figure.suptitle(title)
    with replacing(out) as part:
        figure.savefig(part, dpi=110, format="png")
    plt.close(figure)


def _bars(
    axis: Any, ys: list[float] | list[int], figures: list[Mapping[str, Any]], key: str, label: str | None
) -> None:
    values = [each[key] for each in figures]
    ends = [each[f"{key}_quartiles"] for each in figures]
    low = [max(v - e[0], 0) for v, e in zip(values, ends, strict=True)]
    high = [max(e[1] - v, 0) for v, e in zip(values, ends, strict=True)]
    axis.barh(ys, values, height=0.25 if label else 0.6, label=label, xerr=(low, high), error_kw={"linewidth": 0.8})
