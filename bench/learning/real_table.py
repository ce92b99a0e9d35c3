"""Turn the results of real_motion.py into figures with paired intervals, a table and a picture."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.learning.real_job import RANDOM
from bench.picture import panels, save
from bench.report import markdown

RESAMPLED = 2000
Result = Mapping[str, Any]


def figures(results: Sequence[Result], clusters: Mapping[str, np.ndarray]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the accuracy for every split, protocol and network, and its lead over a baseline.

    The baseline is the same network with random weights, or for a task with a switch, the task without it. A lead is
    over the shared seeds; without any, it is omitted.

    Args:
        results: of jobs.
        clusters: split -> int64 (tests,), see `real_data.Split`.
    """
    right: dict[tuple[str, str, str], dict[int, np.ndarray]] = {}
    baseline = {}
    for result in sorted(results, key=lambda result: (str(result["name"]), int(result["seed"]))):
        task, switch, _ = str(result["name"]).partition("+")
        baseline[result["name"]] = task if switch else RANDOM + result["backbone"]
        for split, protocols in result["correct"].items():
            for protocol, text in protocols.items():
                of_seeds = right.setdefault((split, protocol, result["name"]), {})
                of_seeds[result["seed"]] = np.array([*text], np.int64)
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for (split, protocol, name), rows in right.items():
        means = {seed: _round(row.mean()) for seed, row in rows.items()}
        entry: dict[str, Any] = {"mean": _round(statistics.fmean(means.values())), "seeds": means}
        base = right.get((split, protocol, baseline[name]), {})
        shared = [seed for seed in rows if seed in base]
        if shared and name != baseline[name]:
            difference = np.stack([rows[seed] - base[seed] for seed in shared])
            interval = [_round(end) for end in paired_interval(difference, clusters[split])]
            entry |= {"lead": _round(difference.mean()), "interval": interval}
        found.setdefault(split, {}).setdefault(protocol, {})[name] = entry
    return found


def paired_interval(difference: np.ndarray, clusters: np.ndarray) -> tuple[float, float]:
    """Return the 95 % interval of a mean difference, by a bootstrap over seeds and over clusters of videos.

    Args:
        difference: (seeds, videos), correctness with one network minus that with the other, on the same video.
        clusters: (videos,), the number of each video's cluster.
    """
    rng = np.random.default_rng(0)
    numbers, which = np.unique(clusters, return_inverse=True)
    sums = np.stack([np.bincount(which, row, len(numbers)) for row in difference])  # (seeds, clusters)
    sizes = np.bincount(which, minlength=len(numbers))
    seeds = rng.integers(len(sums), size=(RESAMPLED, len(sums)))
    drawn = rng.integers(len(numbers), size=(RESAMPLED, len(numbers)))
    means = [
        sums[seed][:, cluster].mean(0).sum() / sizes[cluster].sum() for seed, cluster in zip(seeds, drawn, strict=True)
    ]
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def table(found: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return a Markdown table per split: accuracy in percent, mean over the seeds, and the interval of its lead."""
    lines = []
    for split, protocols in found.items():
        names = next(iter(protocols.values()))
        rows = [
            (f"`{name}`", len(entry["seeds"]), *(_cell(protocol.get(name)) for protocol in protocols.values()))
            for name, entry in names.items()
        ]
        lines += [f"{split}:", "", *markdown(["network", "seeds", *protocols], rows), ""]
    return "\n".join(lines)


def task_table(found: Mapping[str, Mapping[str, Mapping[str, Any]]], task: str) -> str:
    """Return a Markdown table of one task: a row per split, a column per protocol; cells as in `table`."""
    protocols = dict.fromkeys(protocol for of_split in found.values() for protocol in of_split)
    rows = [
        (f"`{split}`", *(_cell(of_split.get(protocol, {}).get(task)) for protocol in protocols))
        for split, of_split in found.items()
    ]
    return "\n".join(markdown(["videos", *protocols], rows))


def curve(budgets: Mapping[int, Mapping[str, Any]], *, protocol: str, seed: int, splits: Sequence[str]) -> str:
    """Tabulate a protocol's accuracy by the frames seen in pretraining, as Markdown.

    Args:
        budgets: frames -> content of the result's JSON; only networks in all of them are shown.
        seed: the seed to show; few networks have more.
    """
    found = {
        (split, frames): {
            name: entry["seeds"][str(seed)]
            for name, entry in content["figures"][split][protocol].items()
            if str(seed) in entry["seeds"]
        }
        for split in splits
        for frames, content in sorted(budgets.items())
    }
    names = sorted(set.intersection(*({*column} for column in found.values())))
    head = ["network", *(f"{split}, {frames:,} frames" for split, frames in found)]
    return "\n".join(
        markdown(head, [(f"`{name}`", *(f"{100 * column[name]:.1f}" for column in found.values())) for name in names])
    )


def _cell(entry: Mapping[str, Any] | None) -> str:
    if entry is None:
        return ""
    if "interval" not in entry:
        return f"{100 * entry['mean']:.1f}"
    low, high = (100 * end for end in entry["interval"])
    return f"{100 * entry['mean']:.1f} ({low:+.0f} to {high:+.0f})"


def plot(found: Mapping[str, Mapping[str, Mapping[str, Any]]], out: Path) -> None:
    """Plot the leads over random weights with their intervals: one row of axes per split, one column per protocol."""
    protocols = list(dict.fromkeys(name for of_split in found.values() for name in of_split))
    columns, rows = len(protocols), len(found)
    title = (
        "points of accuracy above the same network with random weights; finetune: above training from scratch; "
        "of a task with a switch: above the task"
    )
    bars = max(
        sum("lead" in entry for entry in row.values()) for of_split in found.values() for row in of_split.values()
    )
    size = (2.6 * columns, max(2.6, 0.7 + 0.15 * bars) * rows)
    axes = panels(rows * columns, columns, size=size, title=title, sharex="row")
    places = [(split, protocol) for split in found for protocol in protocols]
    for axis, (split, protocol) in zip(axes, places, strict=True):
        of_split = found[split]
        shown = sum("lead" in entry for entry in of_split[protocols[0]].values())
        entries = {name: entry for name, entry in of_split.get(protocol, {}).items() if "lead" in entry}
        if not entries:
            axis.axis("off")
            continue
        numbers = np.arange(len(entries))
        leads = np.array([100 * entry["lead"] for entry in entries.values()])
        ends = np.array([[100 * end for end in entry["interval"]] for entry in entries.values()])
        axis.barh(numbers, leads, color="tab:blue", alpha=0.5)
        axis.hlines(numbers, ends[:, 0], ends[:, 1], color="black", linewidth=1)
        axis.axvline(0, color="gray", linewidth=0.8)
        named = protocol == protocols[0] or len(entries) < shown
        axis.set_yticks(numbers, list(entries) if named else [""] * len(entries), fontsize=7)
        axis.invert_yaxis()
        axis.set_title(f"{split}: {protocol}", fontsize=8)
        axis.grid(axis="x", alpha=0.3)
    save(axes, out)


def _round(value: float) -> float:
    return round(float(value), 4)
