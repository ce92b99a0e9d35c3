"""The four fates of a video that is not used: their names, their CSV files and how they are reported.

too_short: it has fewer frames than the task needs, and is left out when a loader is made.
quarantined: `prepare` could not use it.
unreadable: it was found damaged or missing in mid-run.
replaced_by: the video that stands in for an unreadable one.
"""

import csv
import os
from collections.abc import Mapping
from pathlib import Path

from configs.errors import shown
from dali_pipelines.store.files import replacing

TOO_SHORT_FILE = "too_short.csv"
QUARANTINE_FILE = "quarantine.csv"
UNREADABLE_FILE = "unreadable.csv"
NAMED = 10


def write_reasons(path: Path, reasons: Mapping[str, str], *, key: str = "name") -> None:
    """Write a CSV file with a line for each video: its name or path, as `key` says, and the reason."""
    with replacing(path) as temporary, temporary.open("w", newline="", errors="surrogateescape") as file:
        csv.writer(file).writerows([(key, "reason"), *reasons.items()])


def read_quarantine_reasons(root: str | Path) -> dict[str, str]:
    """Return the reason for the path of each quarantined video; empty where the dataset has no quarantine."""
    try:
        with Path(root, QUARANTINE_FILE).open(newline="", errors="surrogateescape") as file:
            return {row["path"]: row["reason"] for row in csv.DictReader(file)}
    except (FileNotFoundError, NotADirectoryError):
        return {}


def read_quarantine(root: str | Path) -> dict[str, str]:
    """Return the reason for each name that a quarantined video may have in a list.

    These are the ends of its path, with suffix and without. Empty where the dataset has no quarantine.
    """
    reason_of = {Path(path): reason for path, reason in read_quarantine_reasons(root).items()}
    ends = {
        "/".join(path.parts[-depth:]): reason
        for path, reason in reason_of.items()
        for depth in range(1, len(path.parts) + 1)
    }
    return ends | {os.path.splitext(end)[0]: reason for end, reason in ends.items()}


def summary(fate: str, reasons: Mapping[str, str], path: Path, *, total: str = "") -> list[str]:
    """Return one sentence that counts the videos of a fate and names the first of them; none where there are none.

    Args:
        path: the CSV file with the reasons.
        total: of what they are part, as in "of 12 videos of train.txt".
    """
    if not reasons:
        return []
    more = f" and {len(reasons) - NAMED} more" * (len(reasons) > NAMED)
    names = ", ".join(map(shown, [*reasons][:NAMED]))
    return [f"{len(reasons)} {total or 'videos'} are {fate} (reasons in {path}): {names}{more}"]
