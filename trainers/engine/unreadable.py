"""Videos that could not be read during a run: unreadable.csv in its work dir, and a line at the end."""

import csv
from collections.abc import Mapping
from pathlib import Path

from dali_pipelines.store.files import replacing

FILE = "unreadable.csv"
NAMED = 10


def write(videos: Mapping[str, str], work_dir: Path) -> None:
    """Write name and reason of each video; no file where there is none."""
    if videos:
        with replacing(work_dir / FILE) as part, part.open("w", newline="", errors="surrogateescape") as file:
            csv.writer(file).writerows([("name", "reason"), *videos.items()])


def summary(videos: Mapping[str, str], work_dir: Path) -> list[str]:
    """Return one line about them, or none."""
    if not videos:
        return []
    more = f" and {len(videos) - NAMED} more" * (len(videos) > NAMED)
    return [
        f"{len(videos)} videos could not be read, as {work_dir / FILE} says why: {', '.join([*videos][:NAMED])}{more}"
    ]
