"""Format the figures of bench/loader_throughput.py as tables."""

from collections.abc import Iterator, Mapping
from typing import Any

from bench.loader.contenders import EQUAL_JPEGS, OURS, SOURCES
from bench.report import markdown

SUMMARY = {
    "over torchcodec on the same files": "torchcodec_prepared",
    "torchcodec on the sources": "torchcodec",
    "JPEGs of the sources": "jpeg_zip",
    "JPEGs as large and good": EQUAL_JPEGS,
    "of decode only": "decode_only",
    "of decode and cut": "decode_and_cut",
    "of augment only": "augment_only",
}
"""Our rate as a multiple of these."""

COLUMNS = {
    "clips/s": "clips_per_s",
    "quartiles": "clips_per_s_quartiles",
    "ms p50": "batch_ms_p50",
    "p95": "batch_ms_p95",
    "p99": "batch_ms_p99",
    "KiB/clip": "read_kib_per_clip",
    "CPU s/1000": "cpu_s_per_1000_clips",
    "workers": "workers",
    "differs by": "difference_to_ours",
}


def table(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """Return Markdown: our ratios by task and store, and all measurements of each task.

    tasks: name -> the result of `rounds.measure_task`.
    """
    rows = [
        [
            f"`{task}`",
            store,
            ours["clips_per_s"],
            *(_text(ours["ratios"].get(name, {}).get("median")) for name in SUMMARY.values()),
        ]
        for task, figures in tasks.items()
        for store, ours in _stores(figures)
    ]
    lines = markdown(["task", "store", "clips/s", *SUMMARY], rows)
    for task, figures in tasks.items():
        lines += ["", *markdown([f"`{task}`", "reads", *COLUMNS, "our lead", "quartiles"], _rows(figures))]
    return "\n".join(lines)


def _stores(figures: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each store of a task with our loader's figures."""
    for group, found in figures["contenders"].items():
        if group != SOURCES:
            yield group, found[OURS]


def _rows(figures: Mapping[str, Any]) -> Iterator[list[str]]:
    of_store = dict(_stores(figures))
    first = next(iter(of_store.values()))
    for group, found in figures["contenders"].items():
        for name, one in found.items():
            ratio = of_store.get(group, first)["ratios"].get(name, {})
            lead = (ratio.get("median"), ratio.get("quartiles"))
            yield [name, group, *map(_text, (*(one.get(key) for key in COLUMNS.values()), *lead))]
        for name, why in figures["missing"].get(group, {}).items():
            yield [name, group, f"not measured: {why}", *[""] * (len(COLUMNS) + 1)]


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " to ".join(map(_text, value))
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
