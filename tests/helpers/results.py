"""Read result files, independently of the code that writes them."""

import csv
import json
from pathlib import Path


def result(out: Path) -> dict:
    return json.loads((out / "result.json").read_text())


def rows(path: Path, errors: str = "strict") -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors=errors) as file:
        return list(csv.DictReader(file))
