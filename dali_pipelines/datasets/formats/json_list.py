"""JSON: objects with name and label (CtP), or id and template (Something-Something v2), names alone, name: label."""

import json
import re
from collections.abc import Sequence
from typing import Any

from dali_pipelines.datasets.formats import Lists, Reading, Source
from dali_pipelines.datasets.formats.table import LABELS, NAMES, names_parts

BEGINS = re.compile(r"\s*(\[\s*[\[{\"]|\{\s*[\"}])")
EXPECTED = "it must hold objects with name and label, names, or name: label"


def recognizes(source: Source) -> bool:
    """Tell whether a file is JSON, by its beginning or its suffix."""
    if source.is_folder:
        return False
    return source.path.suffix.lower() in (".json", ".jsonl") or BEGINS.match(source.text) is not None


def read(source: Source) -> Lists:
    """Read the only list of a JSON file."""
    found = load(source)
    if isinstance(found, dict):
        if nested := next((name for name, of in found.items() if _is_nested(of)), None):
            raise source.error({nested: found[nested]}, EXPECTED)
        found = [{"name": name, **(of if isinstance(of, dict) else {"label": of})} for name, of in found.items()]
    if not isinstance(found, list):
        raise source.error(found, EXPECTED)
    rows = [_row(source, entry) for entry in found]
    labels = [label for _, label in rows]
    labeled = any(label is not None for label in labels)
    keys = {key for entry in found if isinstance(entry, dict) for key in entry}
    reading = Reading(names=[name for name, _ in rows], labels=labels if labeled else None, parts=names_parts(keys))
    return Lists(entries={source.path.name: [reading]})


def load(source: Source) -> Any:
    """Parse a JSON file, or JSON lines into a list; UserError if it is neither."""
    try:
        return json.loads(source.text)
    except (ValueError, RecursionError) as error:
        try:
            if len(source.lines) > 1:
                return [json.loads(line) for line in source.lines]
        except (ValueError, RecursionError):
            pass
        raise source.unreadable(f"not JSON: {error}") from error


def template(text: str) -> str:
    """Drop the brackets from a class of Something-Something v2, as in its labels.json."""
    return text.replace("[", "").replace("]", "")


def _is_nested(of: Any) -> bool:
    """Return whether a value holds more videos, as the "database" of ActivityNet does."""
    return isinstance(of, list) or (isinstance(of, dict) and bool(of) and all(isinstance(v, dict) for v in of.values()))


def _row(source: Source, entry: Any) -> tuple[str, str | None]:
    if isinstance(entry, str):
        return entry, None
    if not isinstance(entry, dict):
        raise source.error(entry, EXPECTED)
    name = _first(source, entry, NAMES)
    if name is None:
        raise source.error(entry, f"an object must have one of {', '.join(NAMES)}")
    label = _first(source, entry, LABELS)
    if isinstance(entry.get("template"), str):
        label = template(entry["template"])
    return name, label


def _first(source: Source, entry: dict[str, Any], keys: Sequence[str]) -> str | None:
    value = next((entry[key] for key in keys if key in entry), None)
    if value is None or (isinstance(value, str | int) and not isinstance(value, bool)):
        return None if value is None else str(value)
    raise source.error(entry, "names and labels must be texts or integers")
