"""The report as a Markdown page: every answer in a line, most valuable first, then the figures behind them."""

from collections.abc import Mapping
from typing import Any

from bench.gpu_checks.items import ITEMS

Record = Mapping[str, Any]


def page(device: str, items: Mapping[str, Record]) -> str:
    """Markdown; `items` are the records by `part.item`."""
    lines = ["# What this GPU does", ""]
    if device == "cpu":
        lines += [
            "**A rehearsal on the CPU, with VP9 for every codec that DALI decodes on a GPU alone: no figure here says "
            "anything about a GPU.**",
            "",
        ]
    names = [f"{part}.{item}" for part, of_part in ITEMS.items() for item in of_part]
    there = [name for name in names if name in items]
    look = [name for name in there if not fine(items[name])]
    lines += [f"{len(there) - len(look)} of {len(names)} items are as they should be.", ""]
    lines += ["To look at: " + (", ".join(look) or "nothing") + ".", ""]
    lines += ["Not run: " + (", ".join(name for name in names if name not in items) or "nothing") + ".", ""]
    lines += ["| item | | answer | s |", "|---|---|---|---|"]
    for name in there:
        record, mark = items[name], "" if fine(items[name]) else "**!**"
        lines.append(f"| {name} | {mark} | {text(line(record))} | {record['seconds']} |")
    for name in there:
        lines += ["", *section(name, items[name])]
    return "\n".join(lines) + "\n"


def fine(record: Record) -> bool:
    """Whether there is an answer, and it is the one we want."""
    return record["status"] == "done" and bool(record["result"].get("ok", True))


def line(record: Record) -> str:
    """The answer, or why there is none, in one line."""
    if record["status"] == "done":
        return ("" if fine(record) else "NOT OK: ") + str(record["result"].get("answer", "done"))
    return f"{record['status'].upper()}: {' / '.join(str(record['error']).splitlines()[:3])}"


def section(name: str, record: Record) -> list[str]:
    """One item: single values as a list, long texts as they are, a dict of dicts as a table."""
    lines = [f"## {name}: {record['status']}", ""]
    if "error" in record:
        return [*lines, *quoted(record["error"])]
    result = record["result"]
    blocks: list[str] = []
    for key, value in result.items():
        if is_table(value):
            blocks += ["", *table(value)] if key == "rows" else ["", f"{key}:", "", *table(value)]
        elif "\n" in str(value):
            blocks += ["", f"{key}:", *quoted(value)]
        else:
            lines.append(f"- {key}: {text(value)}")
    return lines + blocks


def quoted(value: object) -> list[str]:
    return ["```", *str(value).splitlines(), "```"]


def is_table(value: Any) -> bool:
    return isinstance(value, dict) and bool(value) and all(isinstance(row, dict) for row in value.values())


def table(rows: Mapping[str, Record]) -> list[str]:
    """A line a row, a column for every key that any row has."""
    columns = list(dict.fromkeys(key for row in rows.values() for key in row))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    return lines + [
        f"| {name} | {' | '.join(text(row.get(key, '')) for key in columns)} |" for name, row in rows.items()
    ]


def text(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")
