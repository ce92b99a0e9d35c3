"""The report as a Markdown page: what needs a look first, then every item."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from bench.gpu_checks.items import ITEMS

Record = Mapping[str, Any]


def page(device: str, items: Mapping[str, Record]) -> str:
    """Markdown; `items` are the records by `part.item`."""
    lines = ["# What this GPU does", ""]
    if device == "cpu":
        lines += ["**A rehearsal on the CPU: no figure here says anything about a GPU.**", ""]
    names = [f"{part}.{item}" for part, of_part in ITEMS.items() for item in of_part]
    absent = [name for name in names if name not in items]
    lines += ["| part | done | not ok | other | not run |", "|---|---|---|---|---|"]
    for part, of_part in ITEMS.items():
        records = [items[f"{part}.{item}"] for item in of_part if f"{part}.{item}" in items]
        done = [record for record in records if record["status"] == "done"]
        bad = sum(not is_ok(record) for record in done)
        lines.append(f"| {part} | {len(done)} | {bad} | {len(records) - len(done)} | {len(of_part) - len(records)} |")
    look = [name for name in names if name in items and needs_a_look(items[name])]
    lines += ["", "To look at: " + (", ".join(look) or "nothing") + ".", ""]
    lines += ["Not run: " + (", ".join(absent) or "nothing") + "."]
    reasons = Counter(record["error"] for record in items.values() if record["status"] == "not here")
    lines += [line for reason, count in reasons.items() for line in ("", f"Not here ({count} items): {reason}.")]
    for name in names:
        if name in items:
            lines += ["", *section(name, items[name])]
    return "\n".join(lines) + "\n"


def needs_a_look(record: Record) -> bool:
    return not is_ok(record) or record["status"] not in ("done", "not here")


def is_ok(record: Record) -> bool:
    return bool(record.get("result", {}).get("ok", True))


def section(name: str, record: Record) -> list[str]:
    """One item: single values as a list, a dict of dicts as a table."""
    lines = [f"## {name}: {record['status']}", ""]
    if "error" in record:
        return [*lines, "```", *str(record["error"]).splitlines(), "```"]
    result = record["result"]
    plain = {key: value for key, value in result.items() if key != "machine" and not is_table(value)}
    lines += [f"- {key}: {text(value)}" for key, value in plain.items()]
    if is_table(result) and "rows" not in result:
        return [*lines, *table(result)]
    for key, value in result.items():
        if is_table(value):
            lines += ["", *table(value)] if key == "rows" else ["", f"{key}:", "", *table(value)]
    return lines


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
