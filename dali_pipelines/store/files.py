"""Names of files in the store, and writing them so that no half file ever has a final name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VIDEO_SUFFIXES = (
    *(".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts"),
    *(".ogv", ".ts", ".vob", ".webm", ".wmv"),
)


def video_path(root: Path, name: str) -> Path:
    """Where the prepared video `name` lies below the dataset `root`."""
    return root / "videos" / f"{name}.mp4"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path beside `path`, moved onto it at the end, or removed when the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def is_video_name(path: Path) -> bool:
    """Whether the suffix is that of a video file."""
    return path.suffix.lower() in VIDEO_SUFFIXES
