"""Write the report as Markdown: one line per answer, most valuable first, then the figures."""

from collections.abc import Mapping
from typing import Any

from bench.gpu_checks.items import ITEMS
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
    names = [f"{part}.{item}" for part, of_part in ITEMS.items() for item in of_part]
    present = [name for name in names if name in items]
    failed = [name for name in present if not is_ok(items[name])]
    lines += [f"{len(present) - len(failed)} of {len(names)} items are as they should be.", ""]
    lines += ["To look at: " + (", ".join(failed) or "nothing") + ".", ""]
    lines += ["Not run: " + (", ".join(name for name in names if name not in items) or "nothing") + ".", ""]
    marks = {name: "**!**" if name in failed else "" for name in present}
    rows = [(name, marks[name], text(line(items[name])), items[name]["seconds"]) for name in present]
    lines += markdown(["item", "", "answer", "s"], rows)
    for name in present:
        lines += ["", *section(name, items[name])]
    return "\n".join(lines) + "\n"


def is_ok(record: Record) -> bool:
    """Tell whether there is an answer, and the desired one."""
    return record["status"] == "done" and bool(record["result"].get("ok", True))


def line(record: Record) -> str:
    """Return the answer, or why there is none, on one line."""
    if record["status"] == "done":
        return ("" if is_ok(record) else "NOT OK: ") + str(record["result"].get("answer", "done"))
    return f"{record['status'].upper()}: {' / '.join(str(record['error']).splitlines()[:3])}"


def section(name: str, record: Record) -> list[str]:
    """Return the lines of one item: single values as a list, long texts as code, a dict of dicts as a table."""
    lines = [f"## {name}: {record['status']}", ""]
    if "error" in record:
        return [*lines, *code_block(record["error"])]
    result = record["result"]
    blocks: list[str] = []
    for key, value in result.items():
        if is_table(value):
            blocks += ["", *table(value)] if key == "rows" else ["", f"{key}:", "", *table(value)]
        elif "\n" in str(value):
            blocks += ["", f"{key}:", *code_block(value)]
        else:
            lines.append(f"- {key}: {text(value)}")
    return lines + blocks


def code_block(value: object) -> list[str]:
    return ["```", *str(value).splitlines(), "```"]


def is_table(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(row, dict) for row in value.values())


def table(rows: Mapping[str, Record]) -> list[str]:
    """Return a Markdown table with a column for every key that any row has."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    cells = [[name, *(text(row.get(key, "")) for key in columns)] for name, row in rows.items()]
    return markdown(["", *columns], cells)


def text(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
