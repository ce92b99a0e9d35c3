"""Names of files in the store, and atomic writes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
    *(".ogv", ".ts", ".vob", ".webm", ".wmv"),
)

VIDEO_FOLDER, SHARD_FOLDER, PART_FOLDER = "videos", "shards", "parts"
"""Folders of a prepared dataset: what `prepare` writes into it and never takes for a source."""


def video_path(root: Path, name: str) -> Path:
    """Return the path of the prepared video `name` of the dataset `root`."""
    return root / VIDEO_FOLDER / f"{name}.mp4"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; it is moved onto `path` at the end, or removed when the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def is_video_name(path: Path) -> bool:
    """Tell whether the suffix is that of a video file."""
    return path.suffix.lower() in VIDEO_SUFFIXES
