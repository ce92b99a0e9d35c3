"""The four fates of a video that is not used: their names, CSV files and reports.

too_short: it has fewer frames than the task needs; left out when a loader is created.
quarantined: `prepare` could not use it.
unreadable: it was found damaged or missing during a run.
replaced_by: the video that stands in for an unreadable one.

A listed name that the dataset never had is *missing*: not a fate of a video, but reported in the same way.
"""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from configs.errors import UserError, first_names, printable
from configs.words import counted
from dali_pipelines.store.files import write_csv
from dali_pipelines.store.storage import joined, read_file

TOO_SHORT_FILE = "too_short.csv"
QUARANTINE_FILE = "quarantine.csv"
UNREADABLE_FILE = "unreadable.csv"
MISSING_FILE = "missing.csv"
NAMED = 10


def write_reasons(path: Path, reasons: Mapping[str, str], *, key: str = "name") -> None:
    """Write a CSV file with one line per video: its name or path (`key` says which) and the reason."""
    write_csv(path, [(key, "reason"), *reasons.items()])


def read_quarantine(root: str | Path) -> dict[str, str]:
    """Return path -> reason for the quarantine of a dataset; empty if it has none."""
    path = joined(root, QUARANTINE_FILE)
    try:
        text = read_file(path).tobytes().decode(errors="surrogateescape")
        return {row["path"]: row["reason"] or "" for row in csv.DictReader(io.StringIO(text, newline=""))}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (KeyError, csv.Error) as error:
        raise UserError(f"{path} is damaged ({printable(str(error))}): run prepare again, or remove it") from error


def summary(fate: str, reasons: Mapping[str, str], path: Path | str | None, *, total: str = "") -> list[str]:
    """Return one sentence with the count and the first names of the videos of a fate; [] if there are none.

    `path` is the CSV file with the reasons, if there is one; `total` the whole, as in "of 12 videos of train.txt".
    """
    if not reasons:
        return []
    where = f" (reasons in {path})" if path else ""
    count = f"{len(reasons)} {total}" if total else counted(len(reasons), "video")
    return [f"{count} {fate}{where}: {first_names([*reasons], NAMED)}"]
