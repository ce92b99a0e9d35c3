"""Write the report as Markdown: one line per answer, most valuable first."""

from collections.abc import Mapping
from typing import Any

from bench.gpu_checks.items import select_items
from bench.report import markdown

Record = Mapping[str, Any]


def page(device: str, items: Mapping[str, Record]) -> str:
    """Return the page; `items` maps `part.item` to records."""
    lines = ["# What this GPU does", ""]
    if device == "cpu":
        lines += [
            "**A rehearsal on the CPU, with VP9 for every codec that DALI decodes on a GPU alone: no figure here says "
            "anything about a GPU.**",
            "",
        ]
    names = select_items()
    present = [name for name in names if name in items]
    failed = [name for name in present if not is_ok(items[name])]
    lines += [f"{len(present) - len(failed)} of {len(names)} items are as they should be.", ""]
    lines += ["To look at: " + (", ".join(failed) or "nothing") + ".", ""]
    lines += ["Not run: " + (", ".join(name for name in names if name not in items) or "nothing") + ".", ""]
    marks = {name: "**!**" if name in failed else "" for name in present}
    answers = {name: line(items[name]).replace("|", "\\|").replace("\n", " ") for name in present}
    rows = [(name, marks[name], answers[name], items[name]["seconds"]) for name in present]
    return "\n".join([*lines, *markdown(["item", "", "answer", "s"], rows)]) + "\n"


def is_ok(record: Record) -> bool:
    """Tell whether there is an answer, and the desired one."""
    return record["status"] == "done" and bool(record["result"].get("ok", True))


def line(record: Record) -> str:
    """Return the answer, or why there is none, on one line."""
    if record["status"] == "done":
        return ("" if is_ok(record) else "NOT OK: ") + str(record["result"].get("answer", "done"))
    return f"{record['status'].upper()}: {' / '.join(str(record['error']).splitlines()[:3])}"
