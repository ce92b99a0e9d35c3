"""Find the videos that a command names."""

import os
from collections.abc import Iterable
from pathlib import Path

from configs.errors import UserError
from dali_pipelines.store.files import is_video_name
from dali_pipelines.store.source import PICTURE


def find_videos(sources: Iterable[Path], *, outside: Path) -> dict[str, Path]:
    """Return the videos of `sources` by name, in the order of the names.

    A folder is searched recursively (links followed) for files with a video suffix; names are the paths below it
    without the suffix. Where it has none, each folder of numbered pictures is a video, named by its path below the
    source. A file is taken whatever its suffix.

    Args:
        outside: a folder that is not searched.

    Raises:
        UserError: a source does not exist, two videos have one name, or there is no video at all.
    """
    sources = list(sources)
    found: dict[str, Path] = {}
    for source in sources:
        if source.is_file():
            named = [(source.stem, source)]
        elif source.is_dir():
            named = [(_name(path, source), path) for path in _search(source, outside)]
        else:
            raise UserError(f"no such file or folder: {source}")
        for name, path in named:
            if found.setdefault(name, path) != path:
                raise UserError(
                    f"two videos would both be named {name!r}: {found[name]} and {path}; rename one, or prepare "
                    "them into different datasets"
                )
    if not found:
        places = ", ".join(map(str, sources))
        raise UserError(
            f"no video files in {places}, and no folders of numbered pictures; files with another suffix can be given "
            "by their path"
        )
    return dict(sorted(found.items()))


def _name(path: Path, source: Path) -> str:
    if path == source:  # itself a folder of pictures
        return path.resolve().name
    relative = path.relative_to(source)
    return (relative.with_suffix("") if is_video_name(path) else relative).as_posix()


def _search(root: Path, outside: Path) -> list[Path]:
    """Return the video files below `root`; where there are none, the folders of pictures."""
    files: list[Path] = []
    folders: list[Path] = []
    outside = outside.resolve()
    seen: set[tuple[int, int]] = set()
    for folder, subfolders, names in os.walk(root, followlinks=True):
        status = os.stat(folder)
        here = (status.st_dev, status.st_ino)
        if here in seen or Path(folder).resolve() == outside:  # a link back up; the output itself
            subfolders.clear()
            continue
        seen.add(here)
        files += [Path(folder, name) for name in names if is_video_name(Path(name)) and not name.startswith(".")]
        if not files and any((match := PICTURE.fullmatch(name)) and match["number"] for name in names):
            folders.append(Path(folder))
    return files or folders
