"""Names of files in the store, and atomic writes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath

VIDEO_SUFFIXES = (
    *(".264", ".265", ".3g2", ".3gp", ".amv", ".apng", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264"),
    *(".h265", ".hevc", ".ivf", ".m1v", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mov", ".mp4", ".mpe"),
    *(".mpeg", ".mpg", ".mts", ".mxf", ".nut", ".ogm", ".ogv", ".qt", ".rm", ".rmvb", ".ts", ".vob", ".webm", ".wmv"),
    *(".xvid", ".y4m"),
)


def video_path(root: Path, name: str) -> Path:
    """Return the path of the prepared video `name` of the dataset `root`."""
    return root / "videos" / f"{name}.mp4"


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


def is_video_name(path: PurePath) -> bool:
    """Tell whether the suffix is that of a video file."""
    return path.suffix.lower() in VIDEO_SUFFIXES
